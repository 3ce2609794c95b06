"""What people see and decide: the HTTP API, inbound webhooks and one page in the browser.

A role of its own (`reflexarc console`). It only reads topics, and writes two: controls (what people say) and
raw alerts (what other systems say). It holds no state that the topics do not: any number of consoles may run.
"""
