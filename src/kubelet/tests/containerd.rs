//! The kubelet against a real containerd, both in a network namespace made for the test. Skipped without root or
//! containerd.

#[path = "containerd/lab.rs"]
mod lab;

const POD: &str = "
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop, labels: {app: web}}
spec:
  terminationGracePeriodSeconds: 1
  initContainers:
  - {name: first, image: 'test.local/busybox:1', command: [/bin/busybox, sh, -c, 'echo ready > /data/word'], volumeMounts: [{name: data, mountPath: /data}]}
  containers:
  - name: main
    image: test.local/busybox:1
    command: [/bin/busybox, sh, -c, 'echo $(GREETING) $(cat /data/word); /bin/busybox httpd -p 8080; exec /bin/busybox sleep 1000']
    env: [{name: GREETING, value: hello}, {name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}]
    volumeMounts: [{name: data, mountPath: /data}, {name: info, mountPath: /info}]
    readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
    resources: {requests: {memory: 16Mi}}
  volumes:
  - {name: data, emptyDir: {medium: Memory}}
  - {name: info, downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}]}}
";

const CRASH: &str = "
apiVersion: v1
kind: Pod
metadata: {name: crash, namespace: shop}
spec:
  hostNetwork: true
  terminationGracePeriodSeconds: 0
  containers:
  - {name: main, image: 'test.local/busybox:1', command: [/bin/busybox, sh, -c, 'echo bye > /dev/termination-log; exit 3']}
";

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::Value;

    use super::lab::Lab;
    use super::{CRASH, POD};

    #[test]
    fn static_pods_run_survive_a_restart_and_leave_nothing() {
        let Some(mut lab) = Lab::start() else { return };
        lab.start_kubelet();
        lab.manifest("web.yaml", Some(POD));
        lab.manifest("crash.yaml", Some(CRASH));
        let container = lab.until("the container runs", |lab| lab.container("main", "web-n1"));
        lab.until("the log is served", |lab| {
            let log = lab.get("/containerLogs/shop/web-n1/main")?;
            (log == "hello ready\n").then_some(())
        });
        assert!(lab.exec(&container, &["/bin/busybox", "cat", "/info/labels"]).contains("app=\"web\""));
        assert!(lab.exec(&container, &["/bin/busybox", "cat", "/etc/hosts"]).contains("\tweb-n1"));
        let pods: Value = serde_json::from_str(&lab.get("/pods").expect("pods are served")).expect("pods are JSON");
        assert_eq!(pods["items"].as_array().map(Vec::len), Some(2));

        // The crashing pod comes back at once the first time and waits afterwards.
        lab.until("a second run", |lab| (lab.containers("crash-n1") >= 2).then_some(()));

        lab.stop_kubelet();
        lab.start_kubelet();
        lab.until("the server is back", |lab| lab.get("/healthz"));
        std::thread::sleep(Duration::from_secs(3));
        assert_eq!(lab.container("main", "web-n1").as_deref(), Some(container.as_str()), "a restart restarts nothing");

        lab.manifest("web.yaml", None);
        lab.manifest("crash.yaml", None);
        lab.until("nothing is left in the runtime", |lab| (lab.containers("") == 0 && lab.tasks() == 0).then_some(()));
        lab.until("nothing is left on the disk", |lab| lab.pod_folders().is_empty().then_some(()));
    }

    #[test]
    fn a_pod_whose_manifest_vanished_while_no_kubelet_ran_is_removed() {
        let Some(mut lab) = Lab::start() else { return };
        lab.manifest("web.yaml", Some(POD));
        lab.start_kubelet();
        lab.until("the container runs", |lab| lab.container("main", "web-n1"));
        lab.stop_kubelet();
        lab.manifest("web.yaml", None);
        lab.start_kubelet();
        lab.until("nothing is left in the runtime", |lab| (lab.containers("") == 0 && lab.tasks() == 0).then_some(()));
        lab.until("nothing is left on the disk", |lab| lab.pod_folders().is_empty().then_some(()));
    }
}
