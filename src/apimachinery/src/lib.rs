//! The API's machinery: what an object is and what can be done to one, without knowing any kind.
//!
//! Objects are compact trees ([`value::Value`], [`object::Object`]). A [`schema::Schema`] says which fields a kind has; it
//! drives decoding, protobuf, patches and apply, so that no field is ever lost in between.
//!
//! It never does I/O: no async runtime, no files, no sockets, no clock. Time and randomness are arguments.
//!
//! Start with [`value`], then [`object`]; [`status`] and [`field`] are what the API answers when something is wrong.

pub mod apply;
pub mod field;
pub mod gvk;
pub mod json;
pub mod names;
pub mod object;
pub mod patch;
pub mod protobuf;
pub mod quantity;
pub mod schema;
pub mod selector;
pub mod status;
pub mod time;
pub mod value;
pub mod yaml;

pub use object::Object;
pub use status::Status;
pub use value::{Map, Value};
