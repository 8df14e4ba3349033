"""Commands that deploy, check, feed and remove the CLIP functions of a ClickHouse server."""
