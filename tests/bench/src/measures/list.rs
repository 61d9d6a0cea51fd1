//! A list of everything, from the cache.

use std::time::Duration;

use anyhow::ensure;

use super::single::{self, Spent};
use super::{Samples, number};
use crate::client::{Line, Question};
use crate::config::Config;
use crate::objects::Encoding;
use crate::subject::Subject;

/// One list after the other.
pub(super) async fn measure(
    subject: &Subject,
    line: &Line,
    config: &Config,
    samples: &mut Samples,
) -> anyhow::Result<()> {
    super::fill(line, config, config.objects).await?;
    for encoding in Encoding::ALL {
        let question = Question::get(single::path("") + "?resourceVersion=0", encoding);
        // The first one may have to make what later ones find.
        let first = line.size(&question).await?;
        let spent = Spent::on(subject, async {
            for _ in 0..config.lists {
                let size = line.size(&question).await?;
                ensure!(size == first, "a list has {size} bytes where there were {first}");
            }
            Ok(())
        })
        .await?;
        let name = format!("list of {} from cache, {}", config.objects, encoding.name());
        samples.less(format!("{name}: time"), "ms", milliseconds(spent.time) / number(config.lists));
        samples.less(format!("{name}: CPU of the server"), "ms", milliseconds(spent.server) / number(config.lists));
    }
    Ok(())
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
