//! Short texts with a grammar: selectors, quantities, names, times, topologies.

use apimachinery::quantity::Quantity;
use apimachinery::selector::{FieldSelector, LabelSelector};
use topology::Topology;

use crate::mutator::fuzz;

fn corpus(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

#[test]
fn selectors_are_read_or_refused() {
    let texts = ["a=b,c!=d", "a in (b, c),d notin (e)", "!a,b", "x/y.z==1,n>5,m<3", "metadata.name=x,spec.nodeName!="];
    fuzz(&corpus(&texts), |input| {
        let text = String::from_utf8_lossy(input);
        let _ = LabelSelector::parse(&text);
        let _ = FieldSelector::parse(&text);
    });
}

#[test]
fn quantities_keep_their_value_when_written_and_read_again() {
    let texts = ["100m", "1.5Gi", "12e6", "0.000000001", "-5Ki", "9223372036854775807", "1E", "3u", "+7", "1e-9"];
    fuzz(&corpus(&texts), |input| {
        let text = String::from_utf8_lossy(input);
        let Ok(first) = text.parse::<Quantity>() else { return };
        let again: Quantity = first.to_string().parse().unwrap_or_else(|_| panic!("{first} came from {text}"));
        assert_eq!(again.to_string(), first.to_string(), "{text}");
    });
}

#[test]
fn topologies_are_read_or_refused_with_words() {
    let head = "apiVersion: provision.dev/v1alpha1\nkind: Cluster\nmetadata: {name: demo}\n";
    let texts = [
        head.to_owned(),
        format!("{head}spec: {{workers: [{{name: a, replicas: 2}}], network: {{pods: 10.1.0.0/16}}}}\n"),
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../topologies/single-node.yaml")).unwrap(),
    ];
    let texts: Vec<Vec<u8>> = texts.into_iter().map(String::into_bytes).collect();
    fuzz(&texts, |input| {
        let text = String::from_utf8_lossy(input);
        if let Err(error) = Topology::parse("fuzz.yaml", &text) {
            assert!(!error.to_string().is_empty());
        }
    });
}
