use super::*;
use crate::exit::{classify, hint};

#[test]
fn a_second_run_is_refused_with_the_name_of_the_first_and_a_third_is_let_in_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let state = StateDir::new(dir.path(), "demo");
    let first = Lock::take(&state, "apply a-very-long-name-of-a-topology.yaml").unwrap();
    let error = Lock::take(&state, "destroy demo").unwrap_err();
    assert_eq!(classify(&error), Exit::Locked);
    let process = format!("process {}", std::process::id());
    for word in ["another run holds this cluster: ", "`provision apply a-very-long-name", &process] {
        assert!(error.to_string().contains(word), "{error}");
    }
    assert!(hint(&error).is_some());
    drop(first);
    Lock::take(&state, "x").unwrap();
    let holder = std::fs::read_to_string(state.path("lock")).unwrap();
    assert!(holder.starts_with("`provision x`, ") && !holder.contains("topology"), "{holder}");
}

#[test]
fn clusters_do_not_hold_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let _one = Lock::take(&StateDir::new(dir.path(), "one"), "apply").unwrap();
    Lock::take(&StateDir::new(dir.path(), "two"), "apply").unwrap();
}
