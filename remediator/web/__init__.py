"""The remediator's HTTP side: the webhook, what people may ask and do, and the page."""
