//! Use cases between requests and stores.
