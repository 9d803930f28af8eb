"""The example CRM: three orders, served as a company's server would, and imported."""
