"""General engines holding the same data in their best form, with their own words for each query."""
