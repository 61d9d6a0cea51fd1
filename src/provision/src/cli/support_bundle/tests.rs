use std::collections::BTreeMap;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::vault::Vault;

/// A state directory with real secrets, and everything in it that must not get out.
fn state(dir: &std::path::Path) -> (StateDir, Vec<String>) {
    let state = StateDir::new(dir, "demo");
    state.create().unwrap();
    Vault::open(&state, jiff::Timestamp::now()).unwrap().save(&state).unwrap();
    let key = std::fs::read_to_string(state.path("pki/sa.key")).unwrap();
    std::fs::write(state.path("kubeconfig"), "    client-key-data: c2VjcmV0LWtleS1kYXRhLW9mLXRoZS1hZG1pbg==\n")
        .unwrap();
    let lines =
        |text: &str| -> Vec<String> { text.lines().filter(|l| !l.starts_with("--")).map(str::to_owned).collect() };
    let mut secrets = lines(&key);
    secrets.extend(lines(&std::fs::read_to_string(state.path("ssh/id_ed25519")).unwrap()));
    secrets.extend(lines(&std::fs::read_to_string(state.path("pki/ca.key")).unwrap()));
    secrets.push("c2VjcmV0LWtleS1kYXRhLW9mLXRoZS1hZG1pbg==".to_owned());
    secrets.retain(|secret| secret.len() >= 16);
    (state, secrets)
}

fn unpack(file: &std::path::Path) -> BTreeMap<String, String> {
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(std::fs::File::open(file).unwrap()));
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().display().to_string();
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        (name, text)
    });
    entries.collect()
}

#[test]
fn no_key_and_no_token_gets_into_a_bundle() {
    let dir = tempfile::tempdir().unwrap();
    let (state, mut secrets) = state(dir.path());
    let token = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJzeXN0ZW0ifQ.c2lnbmF0dXJl";
    let spilled = format!(
        "{}\nBearer {token}\njoin with abcdef.0123456789abcdef\nhelm --set password=hunter2pass,x=1\nraw {}\n",
        std::fs::read_to_string(state.path("pki/ca.key")).unwrap(),
        secrets.join(" and ")
    );
    secrets.extend([token, "0123456789abcdef", "hunter2pass", "opensesame"].map(str::to_owned));
    // Everywhere that something may have spilled a secret to.
    std::fs::write(state.path("journal.jsonl"), &spilled).unwrap();
    std::fs::create_dir_all(state.path("console")).unwrap();
    std::fs::write(state.path("console/demo-1.log"), &spilled).unwrap();
    std::fs::create_dir_all(state.path("embedded/log/libvirt")).unwrap();
    std::fs::write(state.path("embedded/log/libvirt/q.log"), &spilled).unwrap();
    let mut bundle = Bundle::new("demo-support", Redactor::new(&state).unwrap());
    collect_state(&state, &mut bundle);
    bundle.add("hosts/demo-1/kubelet.log", &spilled);
    bundle.add_json(
        "cluster/pods.json",
        &serde_json::json!({ "items": [{ "metadata": { "managedFields": [1], "annotations": {
            "kubectl.kubernetes.io/last-applied-configuration": "opensesame" } },
            "spec": { "containers": [{ "env": [{ "name": "A", "value": "opensesame" }] }] } }] }),
    );
    bundle.missing("hosts/demo-2", &anyhow::anyhow!("refused with {token}"));
    let file = dir.path().join("b.tar.gz");
    let (files, missing) = bundle.write(&file).unwrap();
    let unpacked = unpack(&file);
    assert_eq!((files, missing.len()), (unpacked.len(), 1));
    for (name, text) in &unpacked {
        assert!(!text.contains("PRIVATE KEY"), "{name}: {text}");
        for secret in &secrets {
            assert!(!text.contains(secret.as_str()), "{secret} is in {name}: {text}");
        }
    }
    let names: Vec<&str> = unpacked.keys().map(String::as_str).collect();
    for expected in ["console/demo-1.log", "embedded/log/libvirt/q.log", "hosts/demo-1/kubelet.log", "missing.txt"] {
        assert!(names.contains(&format!("demo-support/{expected}").as_str()), "{expected} is not in {names:?}");
    }
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn what_lost_its_beginning_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let (state, _) = state(dir.path());
    let mut bundle = Bundle::new("b", Redactor::new(&state).unwrap());
    let most = "x".repeat(archive::MOST_BYTES);
    bundle.add("whole", &most);
    bundle.add("cut", &format!("{most}yz"));
    let file = dir.path().join("b.tar.gz");
    bundle.write(&file).unwrap();
    let unpacked = unpack(&file);
    assert!(unpacked["b/whole"] == most && unpacked["b/cut"].len() > most.len());
    assert!(unpacked["b/cut"].starts_with("[the beginning was left out]\nx") && unpacked["b/cut"].ends_with("xyz"));
}

#[test]
fn what_is_no_secret_stays() {
    let dir = tempfile::tempdir().unwrap();
    let (state, _) = state(dir.path());
    let redactor = Redactor::new(&state).unwrap();
    let certificate = std::fs::read_to_string(state.path("pki/ca.crt")).unwrap();
    for text in [
        "I1122 10:00:00.123456 kubelet.go:42] \"Pod is ready\" pod=\"kube-system/kube-proxy-x7k2p\"\n",
        "node demo-control-plane-1 at 10.80.0.10, v1.35.0, image provision.local/etcd:v0.1.0-0123456789ab\n",
        "the token controller has synced; automountServiceAccountToken: false\n",
        certificate.as_str(),
    ] {
        assert_eq!(redactor.clean(text), text);
    }
}

#[test]
fn values_after_telling_words_are_taken_out() {
    let dir = tempfile::tempdir().unwrap();
    let (state, _) = state(dir.path());
    let redactor = Redactor::new(&state).unwrap();
    for (text, expected) in [
        ("Authorization: Bearer abc def\n", "Authorization: [removed]\n"),
        ("{\"token\":\"abc\",\"x\":1}", "{\"token\":\"[removed]\",\"x\":1}"),
        ("--token=abc --v=2", "--token=[removed] --v=2"),
        ("    client-key-data: QUJD\n", "    client-key-data: [removed]\n"),
        ("a=1&password=p&b=2", "a=1&password=[removed]&b=2"),
        ("token: a token: b", "token: [removed] token: [removed]"),
        ("-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\nb", "[removed]\nb"),
    ] {
        assert_eq!(redactor.clean(text), expected, "{text}");
    }
}

/// A machine that is lost while it tells is in the bundle with what it had told.
#[tokio::test]
async fn what_a_machine_tells_is_kept_also_if_it_breaks_off() {
    use crate::world::simulated::{Faults, Lab};
    let mut lab = Lab::new("{}");
    lab.up(Faults::None, 0).await.plan();
    let mut context = lab.context();
    context.hosts = Arc::new(Telling);
    let (parts, told) = ask(&context, "demo-control-plane-1").await;
    assert_eq!(parts, [("kubelet.log".to_owned(), "one\n".to_owned())]);
    assert!(format!("{:#}", told.unwrap_err()).contains("longer than"));
}

/// The way to a host that says one line and then nothing.
struct Telling;

#[async_trait::async_trait]
impl crate::world::Hosts for Telling {
    async fn connect(&self, _: &str, _: Duration) -> Result<Arc<dyn ssh::Host>> {
        Ok(Arc::new(Telling))
    }
}

impl ssh::Host for Telling {
    fn name(&self) -> &'static str {
        "demo-control-plane-1"
    }

    fn stream<'a>(
        &'a self,
        script: &'a Script,
        sink: &'a mut dyn ssh::Sink,
    ) -> futures::future::BoxFuture<'a, Result<ssh::Ended, ssh::SshError>> {
        Box::pin(async move {
            let text = format!("{}kubelet.log\none\n", parts::START);
            sink.take(ssh::Piece::Stdout(text.into())).await.unwrap();
            let (host, command) = (self.name().to_owned(), script.title().to_owned());
            Err(ssh::SshError::TimedOut { host, command, limit: script.limit })
        })
    }

    fn upload<'a>(
        &'a self,
        _: &'a [ssh::File],
    ) -> futures::future::BoxFuture<'a, Result<ssh::Uploaded, ssh::SshError>> {
        Box::pin(async { Ok(ssh::Uploaded::default()) })
    }
}
