"""Loads a user's handler once, then serves one invoke at a time over the channel.

    server --INVOKE--> os.read --> handler(event, context) --> os.write --RESPONSE | ERROR--> server
              (blocks)

Start-up time is the first concern: nothing is imported that a plain function does not need. `logging` gets its root
handler when the user's code imports it, `traceback` is loaded when the first error is reported.
"""
