//! The objects that are written and read, in both encodings, and how events of a watch are counted.

use apimachinery::{Object, Value, protobuf, value};
use bytes::Bytes;

/// The namespace everything happens in.
pub const NAMESPACE: &str = "bench";

/// What bodies look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// JSON, as people and many clients read it.
    Json,
    /// Protobuf, as upstream's components speak it.
    Protobuf,
}

impl Encoding {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Json, Self::Protobuf];

    /// The word in the names of measurements.
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Protobuf => "protobuf",
        }
    }

    /// The media type of bodies.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Protobuf => protobuf::CONTENT_TYPE,
        }
    }

    /// What is accepted: for a watch, Go clients say so twice.
    pub fn accept(self, path: &str) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Protobuf if path.contains("watch=1") => {
                "application/vnd.kubernetes.protobuf;stream=watch,application/vnd.kubernetes.protobuf"
            }
            Self::Protobuf => protobuf::CONTENT_TYPE,
        }
    }

    fn encode(self, object: &Object) -> Bytes {
        match self {
            Self::Json => Value::from(object).to_string().into(),
            Self::Protobuf => {
                let schema = api::schema();
                let of = schema.type_of(object.api_version(), object.kind()).expect("the kind is built in");
                protobuf::encode(object, schema, of).expect("the object fits its schema").into()
            }
        }
    }
}

/// The namespace as an object.
pub fn namespace() -> Bytes {
    Value::from(&tree(value!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": (NAMESPACE)}})))
        .to_string()
        .into()
}

/// A `ConfigMap`; another `version` has other data of the same size.
pub fn config_map(name: &str, version: usize, size: usize, encoding: Encoding) -> Bytes {
    let mut data = format!("{version:08} ");
    while data.len() < size {
        data.push_str("0123456789abcdef ");
    }
    data.truncate(size.max(9));
    encoding.encode(&tree(value!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": (name), "namespace": (NAMESPACE), "labels": {"app": "bench", "tier": "back"}},
        "data": {"settings": (data.as_str())},
    })))
}

fn tree(value: Value) -> Object {
    Object::try_from(value).expect("it is written as a map")
}

/// Counts the events in the pieces of a watch.
#[derive(Debug)]
pub struct Counter {
    encoding: Encoding,
    /// The beginning of a frame's length that came in pieces.
    length: Vec<u8>,
    /// Bytes of a frame that are still to come.
    left: usize,
}

impl Counter {
    /// For a watch that begins.
    pub fn new(encoding: Encoding) -> Self {
        Self { encoding, length: Vec::with_capacity(4), left: 0 }
    }

    /// How many events end in the next piece.
    pub fn count(&mut self, mut piece: &[u8]) -> usize {
        if self.encoding == Encoding::Json {
            return piece.split(|byte| *byte == b'\n').count() - 1;
        }
        let mut events = 0;
        while !piece.is_empty() {
            if self.left == 0 {
                let wanted = (4 - self.length.len()).min(piece.len());
                self.length.extend_from_slice(&piece[..wanted]);
                piece = &piece[wanted..];
                let Ok(length) = <[u8; 4]>::try_from(self.length.as_slice()) else { continue };
                self.left = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
                self.length.clear();
            }
            let taken = self.left.min(piece.len());
            self.left -= taken;
            piece = &piece[taken..];
            events += usize::from(self.left == 0);
        }
        events
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_counted_however_they_are_cut() {
        let object = config_map("a", 1, 50, Encoding::Protobuf);
        let stream = protobuf::encode_watch_event("ADDED", &object).repeat(3);
        for size in [1, 3, 4, 7, stream.len()] {
            let mut counter = Counter::new(Encoding::Protobuf);
            let events: usize = stream.chunks(size).map(|piece| counter.count(piece)).sum();
            assert_eq!(events, 3, "pieces of {size}");
        }
        assert_eq!(Counter::new(Encoding::Json).count(b"{}\n{}\n{"), 2);
    }

    #[test]
    fn versions_differ_and_have_the_size_asked_for() {
        let (one, two) = (config_map("a", 1, 100, Encoding::Json), config_map("a", 2, 100, Encoding::Json));
        assert_ne!(one, two);
        assert_eq!(one.len(), two.len());
        assert!(one.len() > 200);
    }
}
