//! `/livez`, `/readyz` and `/healthz` in Kubernetes' text format.

use bytes::Bytes;
use http::{Response, StatusCode, header};
use http_body_util::Full;

type Probe = Box<dyn Fn() -> Result<(), String> + Send + Sync>;

struct Check {
    name: &'static str,
    endpoints: &'static [&'static str],
    probe: Probe,
}

const ALL: &[&str] = &["livez", "readyz", "healthz"];

/// The named checks of a program.
///
/// A probe must be quick and must not block: it reads a flag that somebody else keeps.
pub struct Checks {
    checks: Vec<Check>,
}

impl Default for Checks {
    fn default() -> Self {
        Self::new()
    }
}

impl Checks {
    /// Starts with the check `ping`, which always passes.
    pub fn new() -> Self {
        Self { checks: Vec::new() }.add("ping", || Ok(()))
    }

    /// Adds a check to all three endpoints; the error text is logged, never sent.
    #[must_use]
    pub fn add(self, name: &'static str, probe: impl Fn() -> Result<(), String> + Send + Sync + 'static) -> Self {
        self.add_at(ALL, name, probe)
    }

    /// Adds a check to `/readyz` only.
    #[must_use]
    pub fn add_ready(self, name: &'static str, probe: impl Fn() -> Result<(), String> + Send + Sync + 'static) -> Self {
        self.add_at(&["readyz"], name, probe)
    }

    /// Adds a check to some of the endpoints, named without their slash.
    #[must_use]
    pub fn add_at(
        mut self,
        endpoints: &'static [&'static str],
        name: &'static str,
        probe: impl Fn() -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        self.checks.push(Check { name, endpoints, probe: Box::new(probe) });
        self
    }

    /// Whether a path belongs to the health endpoints.
    pub fn serves(path: &str) -> bool {
        ["/livez", "/readyz", "/healthz"]
            .iter()
            .any(|root| path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
    }

    /// Answers `/livez`, `/readyz` or `/healthz`, with `?verbose` and `?exclude=name`, or one check such as `/livez/ping`.
    pub fn respond(&self, path: &str, query: Option<&str>) -> Response<Full<Bytes>> {
        let mut segments = path.trim_matches('/').splitn(2, '/');
        let endpoint = segments.next().unwrap_or_default();
        if !ALL.contains(&endpoint) {
            return text(StatusCode::NOT_FOUND, "404 page not found\n".to_owned());
        }
        let applies = |check: &&Check| check.endpoints.contains(&endpoint);
        if let Some(name) = segments.next() {
            return match self.checks.iter().filter(applies).find(|check| check.name == name) {
                None => text(StatusCode::NOT_FOUND, "404 page not found\n".to_owned()),
                Some(check) => match (check.probe)() {
                    Ok(()) => text(StatusCode::OK, "ok".to_owned()),
                    Err(reason) => {
                        text(StatusCode::INTERNAL_SERVER_ERROR, format!("internal server error: {reason}\n"))
                    }
                },
            };
        }
        let query = query.unwrap_or_default();
        let verbose = query.split('&').any(|pair| pair == "verbose" || pair.starts_with("verbose="));
        let excluded = query.split('&').filter_map(|pair| pair.strip_prefix("exclude="));
        // No name of a check has another character that has to be escaped.
        let excluded: Vec<String> = excluded.map(|name| name.replace("%2F", "/").replace("%2f", "/")).collect();
        let (passed, report) = self.run(applies, &excluded);
        match (passed, verbose) {
            (true, false) => text(StatusCode::OK, "ok".to_owned()),
            (true, true) => text(StatusCode::OK, format!("{report}{endpoint} check passed\n")),
            (false, _) => {
                // Whoever asks ten times a second is told each time; the log is not.
                tracing::debug!(endpoint, "health check failed");
                text(StatusCode::INTERNAL_SERVER_ERROR, format!("{report}{endpoint} check failed\n"))
            }
        }
    }

    fn run(&self, applies: impl Fn(&&Check) -> bool, excluded: &[String]) -> (bool, String) {
        let mut passed = true;
        let mut report = String::new();
        let mut unmatched: Vec<&String> = excluded.iter().collect();
        for check in self.checks.iter().filter(applies) {
            let name = check.name;
            unmatched.retain(|excluded| *excluded != name);
            if excluded.iter().any(|excluded| excluded == name) {
                report.extend(["[+]", name, " excluded: ok\n"]);
                continue;
            }
            match (check.probe)() {
                Ok(()) => report.extend(["[+]", name, " ok\n"]),
                Err(reason) => {
                    tracing::debug!(check = name, reason, "health check failed");
                    passed = false;
                    report.extend(["[-]", name, " failed: reason withheld\n"]);
                }
            }
        }
        if !unmatched.is_empty() {
            let names: Vec<String> = unmatched.iter().map(|name| format!("{name:?}")).collect();
            report.extend(["warn: some health checks cannot be excluded: no matches for ", &names.join(","), "\n"]);
        }
        (passed, report)
    }
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("text/plain; charset=utf-8"));
    response.headers_mut().insert("x-content-type-options", header::HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    fn answer(checks: &Checks, path: &str, query: Option<&str>) -> (u16, String) {
        let response = checks.respond(path, query);
        let status = response.status().as_u16();
        let body = futures::executor::block_on(response.into_body().collect()).unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[test]
    fn healthy_is_a_bare_ok() {
        assert_eq!(answer(&Checks::new(), "/livez", None), (200, "ok".to_owned()));
        assert_eq!(answer(&Checks::new(), "/livez/ping", None), (200, "ok".to_owned()));
        assert_eq!(answer(&Checks::new(), "/livez/none", None).0, 404);
        assert_eq!(answer(&Checks::new(), "/other", None).0, 404);
    }

    #[test]
    fn verbose_names_every_check() {
        assert_eq!(answer(&Checks::new(), "/healthz", Some("verbose")).1, "[+]ping ok\nhealthz check passed\n");
    }

    #[test]
    fn a_failing_check_is_named_without_its_reason() {
        let checks = Checks::new().add("etcd", || Err("secret".to_owned()));
        assert_eq!(
            answer(&checks, "/readyz", None),
            (500, "[+]ping ok\n[-]etcd failed: reason withheld\nreadyz check failed\n".to_owned())
        );
        assert_eq!(answer(&checks, "/readyz", Some("exclude=etcd")).0, 200);
    }

    #[test]
    fn what_cannot_be_excluded_is_told() {
        let checks = Checks::new().add("poststarthook/rbac/bootstrap-roles", || Err("not finished".to_owned()));
        let (code, body) =
            answer(&checks, "/livez", Some("verbose&exclude=poststarthook%2Frbac%2Fbootstrap-roles&exclude=x"));
        assert_eq!(code, 200);
        assert_eq!(
            body,
            "[+]ping ok\n[+]poststarthook/rbac/bootstrap-roles excluded: ok\n\
             warn: some health checks cannot be excluded: no matches for \"x\"\nlivez check passed\n"
        );
        assert_eq!(answer(&checks, "/livez/poststarthook/rbac/bootstrap-roles", None).0, 500);
    }

    #[test]
    fn a_check_of_some_endpoints_stays_out_of_the_others() {
        let checks = Checks::new().add_at(&["readyz", "healthz"], "etcd", || Err("gone".to_owned()));
        let codes = ["/livez", "/readyz", "/healthz", "/livez/etcd"].map(|path| answer(&checks, path, None).0);
        assert_eq!(codes, [200, 500, 500, 404]);
    }

    #[test]
    fn a_readiness_check_does_not_touch_liveness() {
        let checks = Checks::new().add_ready("informers", || Err("not synced".to_owned()));
        assert_eq!(answer(&checks, "/livez", None).0, 200);
        assert_eq!(answer(&checks, "/readyz", None).0, 500);
    }
}
