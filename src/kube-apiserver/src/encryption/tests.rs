use super::*;

const SECRET_16: &str = "MDEyMzQ1Njc4OWFiY2RlZg==";
const SECRET_24: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3";
const SECRET_32: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

fn rules(providers: &str) -> String {
    format!(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n\
         - resources: [secrets]\n  providers: [{providers}]\n"
    )
}

fn keys(provider: &str, keys: &[(&str, &str)]) -> String {
    let keys: Vec<String> = keys.iter().map(|(name, secret)| format!("{{name: {name}, secret: {secret}}}")).collect();
    format!("{{{provider}: {{keys: [{}]}}}}", keys.join(", "))
}

fn load(text: &str) -> Result<Arc<Encryption>, SettingsFileError> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    Encryption::load(Some(file.path()))
}

fn sealer(providers: &str) -> Sealer {
    load(&rules(providers)).unwrap().of("", "secrets")
}

const KEY: &str = "/registry/secrets/default/s";

#[test]
fn each_provider_opens_what_it_sealed_and_nothing_else() {
    let plain = Bytes::from_static(b"a secret of some length, longer than one block");
    for (provider, secret) in [
        ("aesgcm", SECRET_16),
        ("aesgcm", SECRET_24),
        ("aesgcm", SECRET_32),
        ("aescbc", SECRET_16),
        ("aescbc", SECRET_24),
        ("aescbc", SECRET_32),
        ("secretbox", SECRET_32),
    ] {
        let codec = sealer(&keys(provider, &[("key1", secret)]));
        let sealed = codec.seal(KEY, &plain).unwrap();
        let prefix = format!("k8s:enc:{provider}:v1:key1:");
        assert!(
            sealed.starts_with(prefix.as_bytes()) && !sealed.windows(6).any(|part| part == b"length"),
            "{provider}"
        );
        assert_ne!(sealed, codec.seal(KEY, &plain).unwrap());
        assert_eq!(codec.open(KEY, &sealed), Ok(Opened { plain: plain.clone(), stale: false }), "{provider}");
        assert_eq!(codec.open(KEY, &plain), Err(SealError::NoKey));
        let mut damaged = sealed.to_vec();
        *damaged.last_mut().unwrap() ^= 1;
        if provider != "aescbc" {
            assert_eq!(codec.open(KEY, &damaged.into()), Err(SealError::NotAuthentic), "{provider}");
        }
        let cut = sealed.slice(..prefix.len() + 5);
        assert_eq!(codec.open(KEY, &cut), Err(SealError::NotAuthentic), "{provider}");
        // Where values are bound to their keys, one cannot be put in another's place.
        let elsewhere = codec.open("/registry/secrets/default/other", &sealed);
        assert_eq!(elsewhere.is_err(), provider == "aesgcm");
    }
}

/// Made with golang.org/x/crypto/nacl/secretbox's published test vector.
#[test]
fn the_box_is_that_of_nacl() {
    let key = [1; 32];
    let nonce = [2; 24];
    let sealed = hex::decode("8442bc313f4626f1359e3b50122b6ce6fe66ddfe7d39d14e637eb4fd5b45beadab55198df6ab5368439792a23c87db70acb6156dc5ef957ac04f6276cf6093b84be77ff0849cc33e34b7254d5a8f65ad").unwrap();
    let value = [b"k8s:enc:secretbox:v1:k:".as_slice(), &nonce, &sealed].concat();
    let secret = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, key);
    let opened = sealer(&keys("secretbox", &[("k", &secret)])).open(KEY, &value.into()).unwrap();
    assert_eq!(&opened.plain[..], [3; 64]);
}

#[test]
fn keys_rotate_and_the_old_ones_still_open() {
    let plain = Bytes::from_static(b"x");
    let old = sealer(&keys("aescbc", &[("old", SECRET_16)]));
    let sealed = old.seal(KEY, &plain).unwrap();
    let both = sealer(&keys("aescbc", &[("new", SECRET_32), ("old", SECRET_16)]));
    assert_eq!(both.open(KEY, &sealed), Ok(Opened { plain: plain.clone(), stale: true }));
    assert!(both.seal(KEY, &plain).unwrap().starts_with(b"k8s:enc:aescbc:v1:new:"));
    let new = sealer(&keys("aescbc", &[("new", SECRET_32)]));
    assert_eq!(new.open(KEY, &sealed), Err(SealError::NoKey));
    // From no encryption to encryption and back.
    let begin = sealer(&format!("{}, {{identity: {{}}}}", keys("aesgcm", &[("k", SECRET_32)])));
    assert_eq!(begin.open(KEY, &plain), Ok(Opened { plain: plain.clone(), stale: true }));
    let end = sealer(&format!("{{identity: {{}}}}, {}", keys("aescbc", &[("old", SECRET_16)])));
    assert_eq!(end.open(KEY, &sealed), Ok(Opened { plain: plain.clone(), stale: true }));
    assert_eq!(end.seal(KEY, &plain).unwrap(), plain);
}

#[test]
fn rules_name_kinds_groups_or_all() {
    let text = format!(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n\
         - resources: [events]\n  providers: [{{identity: {{}}}}]\n\
         - resources: [secrets, deployments.apps]\n  providers: [{0}]\n\
         - resources: ['*.batch']\n  providers: [{0}]\n- resources: ['*.*']\n  providers: [{{identity: {{}}}}]\n",
        keys("aesgcm", &[("k", SECRET_32)])
    );
    let encryption = load(&text).unwrap();
    for (group, plural, sealed) in [
        ("", "secrets", true),
        ("", "events", false),
        ("", "pods", false),
        ("apps", "deployments", true),
        ("apps", "replicasets", false),
        ("batch", "jobs", true),
    ] {
        let value = encryption.of(group, plural).seal(KEY, &Bytes::from_static(b"x")).unwrap();
        assert_eq!(value.starts_with(MARK), sealed, "{plural}.{group}");
    }
    assert!(load(&text).unwrap().of("", "pods").open(KEY, &Bytes::from_static(b"k8s:enc:aesgcm:v1:k:x")).is_err());
}

#[test]
fn wrong_rules_are_refused_without_telling_secrets() {
    let check = |text: &str, words: &str| {
        let error = anyhow::Error::from(load(text).err().unwrap());
        let error = format!("{error:#}");
        assert!(error.contains(words) && !error.contains("MDEy"), "{error}");
    };
    check(&rules(&keys("aesgcm", &[("k", "MDEy")])), "resources[0].providers[0]: key k must have 16, 24 or 32 bytes");
    check(&rules(&keys("secretbox", &[("k", SECRET_16)])), "must have 32 bytes");
    check(&rules(&keys("aescbc", &[("a:b", SECRET_16)])), "has a colon");
    check(&rules(""), "at least one provider");
    check(&rules("{}"), "must be one of");
    check(&rules("{kms: {name: a}}"), "kms is not supported");
    check(&rules("{identity: {}}").replace("[secrets]", "['*']"), "names no resource");
    check(&rules("{identity: {}}").replace("[secrets]", "[secrets, '*.']"), "covered by a wildcard");
    check("kind: Other\napiVersion: v1", "not known here");
    check("kind: [", "cannot understand");
}
