//! The few facts of an object that selectors need, picked from its JSON in one pass without building a tree.

use std::borrow::Cow;
use std::fmt;

use api::ResourceDescriptor;
use serde::de::{Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use storage::DecodeError;

type Labels = Box<[(Box<str>, Box<str>)]>;

/// What is picked.
#[derive(Default)]
pub(super) struct Header {
    pub(super) namespace: Box<str>,
    pub(super) name: Box<str>,
    pub(super) uid: Box<str>,
    pub(super) labels: Labels,
    pub(super) fields: Box<[Box<str>]>,
}

impl Header {
    pub(super) fn read(json: &[u8], descriptor: &'static ResourceDescriptor) -> Result<Self, DecodeError> {
        let mut picked = Picked { header: Self::default(), fields: Vec::new() };
        let mut wanted = Vec::with_capacity(descriptor.selectable_fields.len());
        for (index, field) in descriptor.selectable_fields.iter().enumerate() {
            picked.fields.push(field_default(field).into());
            wanted.push((index, place(field)));
        }
        let mut json = serde_json::Deserializer::from_slice(json);
        Top { picked: &mut picked, wanted: &wanted }.deserialize(&mut json)?;
        json.end()?;
        let mut fields = picked.fields;
        // An Event of the newer form names its reporter elsewhere.
        let at = |name| descriptor.selectable_fields.iter().position(|field| *field == name);
        if let (Some(source), Some(reporter)) = (at("source"), at("reportingComponent"))
            && fields[source].is_empty()
        {
            fields[source] = fields[reporter].clone();
        }
        picked.header.fields = fields.into();
        Ok(picked.header)
    }
}

struct Picked {
    header: Header,
    fields: Vec<Box<str>>,
}

/// Where the value of a selectable field stands in the object, if that is not what it is called.
fn place(field: &'static str) -> &'static str {
    match field {
        "source" => "source.component",
        "status.successful" => "status.succeeded",
        other => other,
    }
}

/// The value of a selectable field that is absent.
pub fn field_default(field: &str) -> &'static str {
    match field {
        "spec.hostNetwork" | "spec.unschedulable" => "false",
        "status.replicas" | "status.successful" => "0",
        _ => "",
    }
}

/// The name of a field, borrowed from the text unless it has escapes in it.
struct Name<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(NameVisitor)
    }
}

struct NameVisitor;

impl<'de> Visitor<'de> for NameVisitor {
    type Value = Name<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a field")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Name<'de>, E> {
        Ok(Name(Cow::Borrowed(name)))
    }

    fn visit_str<E>(self, name: &str) -> Result<Name<'de>, E> {
        Ok(Name(Cow::Owned(name.to_owned())))
    }
}

/// The top level of an object.
struct Top<'a> {
    picked: &'a mut Picked,
    wanted: &'a [(usize, &'a str)],
}

impl<'de> DeserializeSeed<'de> for Top<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Top<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<Name>()? {
            if &*key.0 == "metadata" {
                map.next_value_seed(Metadata(&mut self.picked.header))?;
                continue;
            }
            let below = narrow(self.wanted, &key.0);
            if below.is_empty() {
                map.next_value::<IgnoredAny>()?;
            } else {
                map.next_value_seed(Pick { fields: &mut self.picked.fields, wanted: &below })?;
            }
        }
        Ok(())
    }
}

/// What is left of the wanted paths behind a key.
fn narrow<'a>(wanted: &[(usize, &'a str)], key: &str) -> Vec<(usize, &'a str)> {
    let behind = |path: &'a str| match path.strip_prefix(key)? {
        "" => Some(""),
        rest => rest.strip_prefix('.'),
    };
    wanted.iter().filter_map(|(index, path)| Some((*index, behind(path)?))).collect()
}

/// The name, namespace, uid and labels of `metadata`.
struct Metadata<'a>(&'a mut Header);

impl<'de> DeserializeSeed<'de> for Metadata<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Metadata<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("metadata")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<Name>()? {
            match &*key.0 {
                "name" => self.0.name = map.next_value::<Option<Box<str>>>()?.unwrap_or_default(),
                "namespace" => {
                    self.0.namespace = map.next_value::<Option<Box<str>>>()?.unwrap_or_default();
                }
                "uid" => self.0.uid = map.next_value::<Option<Box<str>>>()?.unwrap_or_default(),
                "labels" => self.0.labels = map.next_value_seed(LabelPairs)?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

struct LabelPairs;

impl<'de> DeserializeSeed<'de> for LabelPairs {
    type Value = Labels;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Labels, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for LabelPairs {
    type Value = Labels;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of labels")
    }

    fn visit_unit<E>(self) -> Result<Labels, E> {
        Ok(Labels::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Labels, A::Error> {
        let mut labels = Vec::new();
        while let Some(pair) = map.next_entry()? {
            labels.push(pair);
        }
        Ok(labels.into())
    }
}

/// A part of the object in which some fields are wanted; an empty path means the value itself.
struct Pick<'a> {
    fields: &'a mut Vec<Box<str>>,
    wanted: &'a [(usize, &'a str)],
}

impl Pick<'_> {
    fn take(self, value: &str) {
        for (index, path) in self.wanted {
            if path.is_empty() && !value.is_empty() {
                self.fields[*index] = value.into();
            }
        }
    }
}

impl<'de> DeserializeSeed<'de> for Pick<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Pick<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        self.take(value);
        Ok(())
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.take(if value { "true" } else { "false" });
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.take(&value.to_string());
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.take(&value.to_string());
        Ok(())
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.take(&value.to_string());
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<Name>()? {
            let below = narrow(self.wanted, &key.0);
            if below.is_empty() {
                map.next_value::<IgnoredAny>()?;
            } else {
                map.next_value_seed(Pick { fields: &mut *self.fields, wanted: &below })?;
            }
        }
        Ok(())
    }
}
