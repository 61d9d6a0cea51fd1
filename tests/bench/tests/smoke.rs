//! The whole bench on next to nothing, so that it cannot rot.

#![allow(clippy::unwrap_used, clippy::tests_outside_test_module, reason = "all of it is tests")]

use std::process::Command;

#[test]
fn every_measurement_of_our_own_server_gives_a_number() {
    let ran = Command::new(env!("CARGO_BIN_EXE_bench"))
        .args(["--smoke", "--output", "json"])
        .env_remove("KUBE_APISERVER")
        .env_remove("PEER_KUBE_APISERVER")
        .output()
        .unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let report: serde_json::Value = serde_json::from_slice(&ran.stdout).unwrap();
    let rows = report["measurements"].as_array().unwrap();
    for wanted in ["ready", "binary", "idle", "create", "get", "update", "watch", "list", "ten informers"] {
        let row = rows.iter().find(|row| row["name"].as_str().unwrap().starts_with(wanted)).unwrap();
        assert!(row["ours"].as_f64().unwrap() >= 0.0, "{row}");
    }
    // Every number that was promised is among them, and is held against its goal as far as that needs no peer.
    let told =
        |row: &serde_json::Value| row["goal"].as_str().map(|goal| (goal.to_owned(), row["reached"].is_boolean()));
    let goals: Vec<(String, bool)> = rows.iter().filter_map(told).collect();
    for wanted in ["≤ 200", "≤ 30", "≤ 0.05", "6×", "3×", "1.5×", "10×", "5×", "≤ 1.2"] {
        let (_, judged) =
            goals.iter().find(|(goal, _)| goal == wanted).unwrap_or_else(|| panic!("{wanted}: {goals:?}"));
        assert_eq!(*judged, wanted.starts_with('≤'), "{wanted}");
    }
    assert!(report["skipped"][0].as_str().unwrap().contains("PEER_KUBE_APISERVER"));
}
