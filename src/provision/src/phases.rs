//! The phases; [`crate::lifecycle`] tells their story.

pub(crate) mod configure_host;
pub(crate) mod connect_host;
pub(crate) mod create_machine;
pub(crate) mod create_network;
pub(crate) mod drain_node;
pub(crate) mod forget_machine;
pub(crate) mod install_addons;
pub(crate) mod install_components;
pub(crate) mod join_etcd;
pub(crate) mod leave_etcd;
pub(crate) mod mark_node;
pub(crate) mod prepare_image;
pub(crate) mod promote_etcd;
pub(crate) mod remove_machine;
pub(crate) mod remove_network;
pub(crate) mod retire_machine;
pub(crate) mod start_control_plane;
pub(crate) mod start_machine;
pub(crate) mod stop_machine;
pub(crate) mod stop_network;
pub(crate) mod verify_cluster;
pub(crate) mod wait_first_pod;
pub(crate) mod wait_node;

/// How long a host that has been reached before may take to let us in again.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);
