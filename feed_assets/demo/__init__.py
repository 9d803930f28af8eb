"""The example CRM: a server with three orders, and feeds that import them."""
