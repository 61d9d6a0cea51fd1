use super::*;
use crate::exit::{classify, hint};

const GIB: u64 = 1 << 30;

#[test]
fn what_does_not_fit_is_refused_with_the_place_and_the_cure() {
    let room = |free| Room { place: "/pool of far".into(), free, cure: "free disk space there" };
    assert!(refuse_full(&room(Some(4 * GIB)), 4 * GIB).is_ok());
    assert!(refuse_full(&room(None), 4 * GIB).is_ok(), "who cannot know does not refuse");
    let error = refuse_full(&room(Some(4 * GIB - 1)), 4 * GIB).unwrap_err();
    assert_eq!(error.to_string(), "the disks of the machines need at least 4.0 GiB and /pool of far has 4.0 GiB");
    assert_eq!((classify(&error), hint(&error).unwrap().as_str()), (Exit::Host, "free disk space there"));
}
