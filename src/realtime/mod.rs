//! What stays alive between requests.
