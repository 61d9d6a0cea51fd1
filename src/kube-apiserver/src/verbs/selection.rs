//! Which objects of a collection a list or watch is about: label and field selectors.

use std::borrow::Cow;

use apimachinery::selector::{FieldSelector, LabelSelector};
use apimachinery::{Map, Status};

use crate::query::Query;
use crate::registry::{Resource, Store};
use crate::stored::Stored;

/// A checked pair of selectors.
pub(super) struct Selection {
    labels: Option<LabelSelector>,
    fields: Option<FieldSelector>,
    /// Field names of the version asked for with those of the stored one, where they differ.
    names: &'static [(&'static str, &'static str)],
}

impl Selection {
    /// Reads the query of a list, watch or deletecollection.
    ///
    /// # Errors
    /// 400 for what is no selector, and for fields that cannot be selected.
    pub(super) fn parse(resource: &Resource, query: &Query) -> Result<Self, Status> {
        let text = |key| query.get(key).filter(|text| !text.trim().is_empty());
        let labels = text("labelSelector").map(LabelSelector::parse).transpose();
        let labels = labels.map_err(|error| Status::bad_request(format!("unable to parse requirement: {error}")))?;
        let fields = text("fieldSelector").map(FieldSelector::parse).transpose();
        let fields = fields.map_err(|error| Status::bad_request(format!("invalid selector: {error}")))?;
        let labels = labels.filter(|selector| !selector.is_everything());
        let fields = fields.filter(|selector| !selector.is_everything());
        let names = resource.served.map_or(&[][..], |served| served.selectable_fields);
        let selection = Self { labels, fields, names };
        selection.check(resource)?;
        Ok(selection)
    }

    fn check(&self, resource: &Resource) -> Result<(), Status> {
        let Some(fields) = &self.fields else { return Ok(()) };
        for term in fields.terms() {
            let field = term.field.as_str();
            let known = match field {
                "metadata.name" => true,
                "metadata.namespace" => resource.descriptor.is_namespaced(),
                _ if resource.served.is_some() => self.names.iter().any(|(name, _)| *name == field),
                _ => resource.descriptor.selectable_fields.contains(&field),
            };
            if !known {
                return Err(Status::bad_request(format!("field label not supported: {field}")));
            }
        }
        Ok(())
    }

    /// True if nothing is left out.
    pub(super) fn is_all(&self) -> bool {
        self.labels.is_none() && self.fields.is_none()
    }

    /// True for an object that is meant.
    pub(super) fn matches(&self, object: &Stored) -> bool {
        if self.is_all() {
            return true;
        }
        self.labels.as_ref().is_none_or(|selector| selector.matches(object))
            && self.fields.as_ref().is_none_or(|selector| {
                selector.matches(|field| {
                    let stored = self.names.iter().find(|(name, _)| *name == field);
                    object.field(stored.map_or(field, |(_, stored)| stored)).map(Cow::Borrowed)
                })
            })
    }

    /// True for an object that has nothing but a name.
    pub(super) fn takes_in(&self, name: &str) -> bool {
        let named = |field: &str| (field == "metadata.name").then_some(Cow::Borrowed(name));
        self.labels.as_ref().is_none_or(|selector| selector.matches(&Map::new()))
            && self.fields.as_ref().is_none_or(|selector| selector.matches(named))
    }

    /// The part of etcd that has to be looked at: one key if the selector names it.
    pub(super) fn folder(&self, store: &Store, namespace: &str) -> String {
        let namespaced = store.descriptor().is_namespaced();
        let namespace = if namespaced { namespace } else { "" };
        match self.fields.as_ref().and_then(|fields| fields.required_value("metadata.name")) {
            Some(name) if (!namespaced || !namespace.is_empty()) && is_segment(name) => store.key(namespace, name),
            _ => store.folder(namespace),
        }
    }
}

/// True for a name that cannot lead out of its folder.
fn is_segment(name: &str) -> bool {
    !name.is_empty() && !name.contains('/')
}
