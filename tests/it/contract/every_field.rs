//! No field of any kind is lost: on the way out of etcd in any encoding, and on the way in by any kind of write.

use apimachinery::json as codec;
use apimachinery::schema::sample;
use apimachinery::{Object, Value as Tree};
use bytes::Bytes;
use harness::{Caller, EventStream};
use serde_json::{Value, json};

use crate::every_kind::{PROTOBUF, from_protobuf, from_yaml};
use crate::examples::{self, Example};
use crate::probes::{self, Probe};
use crate::server;

/// An object of the kind with every field set, under the name of the example.
fn full(example: &Example) -> Value {
    let schema = api::schema();
    let of = schema.type_for_gvk(example.row.group, example.row.version, example.row.kind).unwrap();
    let mut object = Object::try_from(sample(schema, of)).unwrap();
    object.set_name(example.name());
    // Upstream has not told it since 1.24.
    object.remove_at(&["metadata", "selfLink"]);
    if example.row.is_namespaced() {
        object.set_namespace("default");
    } else {
        object.remove_at(&["metadata", "namespace"]);
    }
    serde_json::from_slice(&codec::encode_object(&object)).unwrap()
}

/// Where two trees differ first; none if they are the same.
fn difference(one: &Value, other: &Value, at: &str) -> Option<String> {
    match (one, other) {
        (Value::Object(a), Value::Object(b)) => {
            let mut keys = a.keys().chain(b.keys().filter(|key| !a.contains_key(*key)));
            keys.find_map(|key| difference(&one[key], &other[key], &format!("{at}.{key}")))
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            let mut pairs = a.iter().zip(b).enumerate();
            pairs.find_map(|(index, (a, b))| difference(a, b, &format!("{at}[{index}]")))
        }
        _ => (one != other).then(|| format!("{at}: {one} became {other}")),
    }
}

#[tokio::test]
async fn what_is_in_etcd_reaches_every_client_whole() {
    let server = server().await;
    let (admin, etcd) = (server.admin(), server.etcd.connect().await);
    let mut lost = Vec::new();
    for example in examples::all() {
        let kind = example.row.kind;
        let mut wanted = full(&example);
        let (before, revision) = etcd.get(&example.key()).await.unwrap();
        assert!(before.is_none() && revision > 0);
        let mut stored = wanted.clone();
        stored["metadata"].as_object_mut().unwrap().remove("resourceVersion");
        let written = etcd.create(&example.key(), Bytes::from(stored.to_string()), None).await.unwrap();
        wanted["metadata"]["resourceVersion"] = written.to_string().into();
        for (way, seen) in ways(&admin, &example, written).await {
            if let Some(difference) = difference(&wanted, &seen, kind) {
                lost.push(format!("{way}: {difference}"));
            }
        }
        etcd.delete(&example.key(), written).await.unwrap();
    }
    assert!(lost.is_empty(), "{}", lost.join("\n"));
}

/// The object as every way of reading shows it.
async fn ways(admin: &Caller, example: &Example, revision: i64) -> Vec<(&'static str, Value)> {
    let (path, collection) = (example.path(), example.collection());
    let selected = format!("{collection}?fieldSelector=metadata.name%3D{}", example.name());
    let mut ways = vec![("get", admin.get(&path).await.ok())];
    ways.push(("get as YAML", from_yaml(&admin.get_as(&path, "application/yaml").await.bytes)));
    ways.push(("get as protobuf", from_protobuf(&admin.get_as(&path, PROTOBUF).await.bytes)));
    let of_list = |list: Value| {
        let mut item = list["items"][0].clone();
        // The items of a typed list do not repeat their kind; upstream's JSON leaves it out.
        for field in ["apiVersion", "kind"] {
            item[field] = example.object[field].clone();
        }
        item
    };
    ways.push(("list", of_list(admin.get(&selected).await.ok())));
    let protobuf = admin.get_as(&selected, PROTOBUF).await;
    ways.push(("list as protobuf", of_list(from_protobuf(&protobuf.bytes))));
    let exact = format!("{selected}&resourceVersion={revision}&resourceVersionMatch=Exact");
    ways.push(("list from etcd", of_list(admin.get(&exact).await.ok())));
    let watch = format!("{selected}&watch=1&resourceVersion={}&timeoutSeconds=30", revision - 1);
    let event = EventStream::open(admin, &watch).await.next().await.unwrap();
    assert_eq!(event["type"], "ADDED", "{}: {event}", example.row.kind);
    ways.push(("watch", event["object"].clone()));
    ways
}

#[tokio::test]
async fn what_is_accepted_on_create_is_kept() {
    let server = server().await;
    let admin = server.admin();
    let mut tally = Tally::default();
    for example in examples::all() {
        let path = format!("{}?dryRun=All&fieldValidation=Strict", example.collection());
        for probe in probes::of(&example) {
            let outcome = probe.try_each(async |body| admin.create(&path, &body).await).await;
            tally.take(example.row.kind, &probe, outcome);
        }
    }
    tally.settle("create", 2);
}

#[tokio::test]
async fn what_is_accepted_by_a_patch_is_kept() {
    let server = server().await;
    let admin = server.admin();
    for example in examples::all() {
        admin.create(&example.collection(), &example.object).await.ok();
    }
    for (index, form) in ["json", "merge", "strategic-merge", "apply"].into_iter().enumerate() {
        let mut tally = Tally::default();
        for example in examples::all() {
            // Each form meets another quarter of the fields, and over all kinds every one of them.
            for probe in probes::of(&example).into_iter().skip(index).step_by(4) {
                let send = async |body| patched(&admin, &example.path(), form, (&example.object, &body)).await;
                tally.take(example.row.kind, &probe, probe.try_each(send).await);
            }
        }
        // Much of what can be created can never be changed.
        tally.settle(form, 3);
    }
}

async fn patched(admin: &Caller, path: &str, form: &str, (old, new): (&Value, &Value)) -> harness::Answer {
    match form {
        "json" => {
            let operations: Vec<Value> =
                new.as_object()
                    .unwrap()
                    .iter()
                    .filter(|(key, value)| old.get(*key) != Some(value) && *key != "metadata")
                    .map(|(key, value)| json!({"op": "add", "path": format!("/{key}"), "value": value}))
                    .chain(
                        new["metadata"].as_object().unwrap().iter().filter(|(key, _)| *key != "name").map(
                            |(key, value)| json!({"op": "add", "path": format!("/metadata/{key}"), "value": value}),
                        ),
                    )
                    .collect();
            admin.patch(&format!("{path}?dryRun=All"), "json", &Value::from(operations)).await
        }
        "apply" => {
            let path = format!("{path}?dryRun=All&fieldManager=contract&force=true");
            let media = "application/apply-patch+yaml";
            admin.send(reqwest::Method::PATCH, &path, media, new.to_string()).await
        }
        form => admin.patch(&format!("{path}?dryRun=All"), form, new).await,
    }
}

/// True for an item of a list that came behind another one, as merging by keys does.
fn stands_elsewhere(pointer: &str, sent: Option<&Value>, answered: &Value) -> bool {
    let mut places = pointer.match_indices("/0").map(|(at, first)| (at, at + first.len()));
    places.any(|(from, to)| {
        let elsewhere = format!("{}/1{}", &pointer[..from], &pointer[to..]);
        sent.is_some() && answered.pointer(&elsewhere) == sent
    })
}

/// What became of the probes.
#[derive(Default)]
struct Tally {
    accepted: usize,
    refused: Vec<String>,
    lost: Vec<String>,
}

impl Tally {
    fn take(&mut self, kind: &str, probe: &Probe, outcome: Result<(Value, Value), String>) {
        let place = format!("{kind} {}", probe.pointer);
        match outcome {
            Err(why) => self.refused.push(format!("{place}: {why}")),
            Ok((sent, answered)) => {
                self.accepted += 1;
                let (sent, kept) = (sent.pointer(&probe.pointer), answered.pointer(&probe.pointer));
                let same =
                    sent == kept || probe.means_the_same(kept) || stands_elsewhere(&probe.pointer, sent, &answered);
                if !same && !probes::is_the_servers_own(kind, &probe.pointer) {
                    self.lost.push(format!("{place}: {sent:?} became {kept:?}"));
                }
            }
        }
    }

    /// Nothing is lost, and enough was accepted for that to mean something.
    fn settle(self, way: &str, part: usize) {
        let all = self.accepted + self.refused.len();
        println!("{way}: {} of {all} fields accepted; refused:\n{}", self.accepted, self.refused.join("\n"));
        assert!(self.lost.is_empty(), "{way} lost:\n{}", self.lost.join("\n"));
        assert!(self.accepted * part > all, "{way}: only {} of {all} fields were accepted", self.accepted);
    }
}

#[test]
fn the_samples_have_every_field() {
    let schema = api::schema();
    for row in api::resources() {
        let of = schema.type_for_gvk(row.group, row.version, row.kind).unwrap();
        let Tree::Map(map) = sample(schema, of) else { panic!("{} is no object", row.kind) };
        for field in &schema.get(of).fields {
            assert!(map.get(field.name()).is_some(), "{}.{}", row.kind, field.name());
        }
    }
}
