"""What is abnormal, what is it, how sure are we: pure functions and classes over arrays. No Kafka, clock or network."""
