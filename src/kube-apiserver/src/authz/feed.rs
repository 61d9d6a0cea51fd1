//! Keeps the authorizers up to date from the caches.
