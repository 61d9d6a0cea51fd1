//! The whole server over TLS with a real etcd behind it, as a client sees it.

#[cfg(test)]
mod access;
#[cfg(test)]
mod admission;
#[cfg(test)]
mod audit;
#[cfg(test)]
mod encryption;
#[cfg(test)]
mod fairness;
#[cfg(test)]
mod first_objects;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod lists;
#[cfg(test)]
mod objects;
#[cfg(test)]
mod services;
#[cfg(test)]
mod several;
#[cfg(test)]
mod stopping;
#[cfg(test)]
mod watches;
