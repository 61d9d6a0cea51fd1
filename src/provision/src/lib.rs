//! Kubernetes clusters on virtual machines, from one topology file: the command line and the lifecycle engine.
//!
//! A run is observe → plan → execute until the plan is empty. [`lifecycle`] is the story: the phases that make a cluster
//! and those that take it down. [`desired`] is what shall be, [`inventory`] what is, [`plan`] the steps in between (pure),
//! [`execute`] carries them out side by side. [`world`] is everything outside, behind traits.
//!
//! Invariants: nothing is decided while a plan is carried out; a run that is killed anywhere is finished by running it
//! again; what carries no mark of the cluster is never touched; a second run writes nothing.
//!
//! Never: how a component works inside.
//!
//! Reading order: `lifecycle`, one phase, `plan`, `desired`, `world`.

pub mod allocate;
pub mod app;
pub mod choice;
pub mod cli;
pub mod config;
pub mod context;
pub mod desired;
pub mod doctor;
pub mod embedded;
pub mod execute;
pub mod exit;
pub mod image;
pub mod inventory;
pub mod journal;
pub mod lifecycle;
pub mod lock;
pub mod machines;
mod phases;
pub mod plan;
pub mod progress;
pub mod render;
pub mod software;
pub mod state;
pub mod timings;
pub mod vault;
pub mod world;

pub use app::main_with_args;
