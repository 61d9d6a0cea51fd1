//! Changes of etcd's members that wait until etcd is sure of its voters.
//!
//! A member adds another only when every voter has been connected to it for 5 s, and lets go of one that runs only when
//! enough of the others have. It is not sure when it has just started, nor right after a promotion.

use std::time::Duration;

use anyhow::Result;

use super::EtcdError;

/// A minute, by the pause of real members.
const TRIES: u32 = 600;

/// Asks for a change until etcd does not refuse it for want of voters; the last refusal is the error.
pub(in crate::world) async fn until_settled<R>(pause: Duration, mut ask: impl FnMut() -> R + Send) -> Result<()>
where
    R: Future<Output = Result<()>> + Send,
{
    for _ in 1..TRIES {
        match ask().await {
            Err(error) if error.downcast_ref().is_some_and(EtcdError::is_unsettled) => {
                tracing::debug!("asked again in {pause:?}: {error}");
                tokio::time::sleep(pause).await;
            }
            answer => return answer,
        }
    }
    ask().await
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::exit::hint;
    use crate::world::EtcdMembers as _;
    use crate::world::simulated::World;

    fn refuses(message: &str) -> anyhow::Error {
        EtcdError::Refused { machine: "lab-etcd-1".to_owned(), message: message.to_owned() }.into()
    }

    #[tokio::test]
    async fn etcd_is_asked_again_until_it_is_sure_of_its_voters() {
        let mut asked = 0;
        let ask = || {
            asked += 1;
            std::future::ready(if asked < 5 { Err(refuses("etcdserver: unhealthy cluster")) } else { Ok(()) })
        };
        until_settled(Duration::ZERO, ask).await.unwrap();
        assert_eq!(asked, 5);
    }

    #[tokio::test]
    async fn what_will_not_change_is_not_asked_again_and_nothing_is_for_ever() {
        for (message, times, cure) in [
            ("etcdserver: unhealthy cluster", TRIES, Some("every voter")),
            ("etcdserver: too many learner members in cluster", 1, None),
            ("etcdserver: re-configuration failed due to not enough started members", 1, Some("start the members")),
        ] {
            let mut asked = 0;
            let ask = || {
                asked += 1;
                std::future::ready(Err(refuses(message)))
            };
            let error = until_settled(Duration::ZERO, ask).await.unwrap_err();
            assert_eq!(asked, times, "{message}");
            let given = hint(&error);
            assert_eq!(given.is_some(), cure.is_some(), "{message}: {given:?}");
            assert!(cure.is_none_or(|cure| given.unwrap().contains(cure)), "{message}");
        }
    }

    #[test]
    fn real_members_are_asked_for_a_minute() {
        let world = World::new(Path::new("none"));
        assert_eq!(super::super::RETRY * TRIES, Duration::from_mins(1));
        assert!(world.pause().is_zero(), "the simulated ones are as patient and take no time");
    }
}
