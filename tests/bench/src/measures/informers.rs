//! Ten informers that start at the same moment: each lists everything and watches from there.

use anyhow::Context;
use bytes::Bytes;
use http_body_util::BodyExt;
use tokio::task::JoinSet;

use super::{Samples, mebibytes, single};
use crate::client::{Door, Question};
use crate::config::Config;
use crate::objects::Encoding;
use crate::subject::Subject;

/// How many.
const INFORMERS: usize = 10;

/// The most memory the server needs meanwhile.
pub(super) async fn measure(
    subject: &Subject,
    line: &crate::client::Line,
    config: &Config,
    samples: &mut Samples,
) -> anyhow::Result<()> {
    super::fill(line, config, config.objects).await?;
    let data = line.size(&Question::get(single::path("") + "?resourceVersion=0", Encoding::Json)).await?;
    let data = mebibytes(data as u64);
    samples.told("the objects as a JSON list", "MiB", data);
    samples.less(format!("memory with {} objects, at rest", config.objects), "MiB", subject.server.resident()?);
    for encoding in Encoding::ALL {
        subject.server.forget_peak()?;
        let rest = subject.server.resident()?;
        let mut informers = JoinSet::new();
        for _ in 0..INFORMERS {
            informers.spawn(inform(subject.door.clone(), encoding));
        }
        while let Some(ended) = informers.join_next().await {
            ended??;
        }
        let peak = subject.server.peak()?;
        let name = format!("ten informers of {}, {}", config.objects, encoding.name());
        samples.less(format!("{name}: peak memory"), "MiB", peak);
        samples.less(format!("{name}: peak memory, of that at rest"), "×", peak / rest);
    }
    Ok(())
}

async fn inform(door: Door, encoding: Encoding) -> anyhow::Result<()> {
    let line = door.connect().await?;
    let mut body = line.open(&Question::get(single::path("") + "?resourceVersion=0", encoding)).await?.into_body();
    let mut head = Vec::new();
    while let Some(frame) = body.frame().await {
        let data = frame.context("the list broke off")?.into_data().unwrap_or_else(|_| Bytes::new());
        if head.len() < 4096 {
            head.extend_from_slice(&data[..data.len().min(4096)]);
        }
    }
    let version = version_of(&head, encoding).context("a list without a version")?;
    let query = format!("?watch=1&resourceVersion={version}&timeoutSeconds=1");
    line.open(&Question::get(single::path("") + &query, encoding)).await?;
    Ok(())
}

/// The version of a list, from its first bytes.
fn version_of(head: &[u8], encoding: Encoding) -> Option<String> {
    let digits = |from: &[u8]| -> String {
        from.iter().take_while(|byte| byte.is_ascii_digit()).map(|byte| char::from(*byte)).collect()
    };
    let version = match encoding {
        Encoding::Json => {
            let mark = b"\"resourceVersion\":\"";
            let at = head.windows(mark.len()).position(|part| part == mark)?;
            digits(&head[at + mark.len()..])
        }
        // The first field 2 that is a number as text: an empty selfLink before it may be left out.
        Encoding::Protobuf => head.windows(2).enumerate().find_map(|(at, mark)| {
            let text = digits(&head[at + 2..]);
            (mark[0] == 0x12 && text.len() == usize::from(mark[1]) && !text.is_empty()).then_some(text)
        })?,
    };
    (!version.is_empty()).then_some(version)
}
