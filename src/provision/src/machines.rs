//! A machine from the outside: its description for libvirt, the seed disk that names it, the console it speaks on.

pub mod console;
pub mod describe;
pub mod seed;

pub use console::{ConsoleError, host_key};
pub use describe::{Disk, Domain, Interface, Kernel, Network};
pub use seed::{CloudSeed, Seed};
