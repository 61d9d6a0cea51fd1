//! `provision logs NODE COMPONENT`: the journal of a systemd unit, or the files of a container.

use anyhow::Result;

use super::openssh;
use crate::config::{Config, LogsArgs};
use crate::exit::{Exit, Refusal};
use crate::state::StateDir;

/// What the script below says if there is no such component.
const NOT_THERE: i32 = 7;

/// Finds the component, and shows its log. Containers come first: etcd may be one, or a unit.
///
/// A container has a folder of its own name, in it a log for each time that it was started, `0.log` the first, and beside each
/// what the kubelet put aside, `0.log.<time>`. A line is `time stream P|F text`. Times are compared as text, in UTC, by the
/// machine's own clock.
const SCRIPT: &str = r#"set -u
logs=$(ls -d /var/log/pods/kube-system_*/"$component" 2>/dev/null)
if [ -n "$logs" ]; then
  older=
  current=
  for dir in $logs; do
    last=
    for log in $(ls "$dir"/*.log 2>/dev/null | sort -V); do
      older="$older $last $(ls "$log".* 2>/dev/null | sort)"
      last=$log
    done
    current="$current $last"
  done
  files="$older $current"
  if [ -n "$since" ]; then
    from=$(date -u -d "@$(($(date +%s) - since))" +%Y-%m-%dT%H:%M:%S)
  else
    from=
  fi
  strip='{ if ($1 >= from) { sub(/^[^ ]+ (stdout|stderr) [PF] /, ""); print; fflush() } }'
  if [ -n "$follow" ]; then
    [ -n "$tail" ] || cat /dev/null $older | awk -v from="$from" "$strip"
    exec tail -q -n "${tail:-+1}" -F $current | awk -v from="$from" "$strip"
  elif [ -n "$tail" ]; then
    cat /dev/null $files | awk -v from="$from" "$strip" | tail -n "$tail"
  else
    cat /dev/null $files | awk -v from="$from" "$strip"
  fi
elif systemctl cat "$component" >/dev/null 2>&1; then
  exec journalctl --no-pager -o cat -u "$component" ${follow:+-f} ${since:+--since "-${since}s"} ${tail:+-n "$tail"}
else
  exit 7
fi"#;

pub(super) async fn run(args: &LogsArgs, config: &Config) -> Result<Exit> {
    let (state, machine) = find(&args.machine, args.cluster.as_deref(), config)?;
    let script = script(args)?;
    let command = openssh::command(&state, &machine, config)?;
    let status = openssh::run(command, &[script.into()]).await?;
    if status.code() == Some(NOT_THERE) {
        let message = format!("{machine} has no component {}", args.component);
        let hint = "containers and units that are usual: etcd, kube-apiserver, kube-controller-manager, kube-scheduler, \
                    kube-proxy, cluster-dns, kubelet, containerd, haproxy, keepalived";
        return Err(Refusal::new(Exit::NotFound, message).hint(hint).into());
    }
    // A reader that has gone away, or Ctrl-C, is how following ends.
    Ok(if status.success() || args.follow { Exit::Done } else { Exit::Failed })
}

/// One argument for the shell of the machine.
fn script(args: &LogsArgs) -> Result<String> {
    let name = &args.component;
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
    if name.is_empty() || name.starts_with('-') || !name.chars().all(plain) {
        return Err(Refusal::new(Exit::Usage, format!("{name:?} cannot be the name of a component")).into());
    }
    let number = |number: Option<u64>| number.map(|number| number.to_string()).unwrap_or_default();
    let head = format!(
        "component={name} follow={} since={} tail={}",
        if args.follow { "yes" } else { "" },
        number(args.since.map(|since| since.as_secs())),
        number(args.tail.map(u64::from)),
    );
    Ok(format!("{head}\n{SCRIPT}"))
}

/// The machine of this name, in whatever cluster it is.
fn find(machine: &str, cluster: Option<&str>, config: &Config) -> Result<(StateDir, String)> {
    if let Some(cluster) = cluster {
        return openssh::machine(cluster, Some(machine), config);
    }
    let mut found = Vec::new();
    for name in StateDir::all(&config.state_dir)? {
        let state = StateDir::new(&config.state_dir, &name);
        // A cluster that cannot be read is no reason not to show the logs of another one.
        let allocations = state.allocations().ok().flatten();
        if allocations.is_some_and(|allocations| allocations.machines.contains_key(machine)) {
            found.push((name, state));
        }
    }
    match found.len() {
        0 => Err(Refusal::new(Exit::NotFound, format!("no cluster has a machine {machine}"))
            .hint("`provision list` shows the clusters, `provision status` the machines of one")
            .into()),
        1 => Ok((found.remove(0).1, machine.to_owned())),
        _ => {
            let names: Vec<String> = found.into_iter().map(|(name, _)| name).collect();
            let message = format!("several clusters have a machine {machine}: {}", names.join(", "));
            Err(Refusal::new(Exit::Usage, message).hint("say which with --cluster").into())
        }
    }
}

#[cfg(test)]
mod tests;
