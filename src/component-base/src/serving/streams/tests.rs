use std::sync::atomic::AtomicUsize;

use tokio::sync::{Notify, oneshot};

use super::*;

/// A stream that waits once and tells in which task it went on.
async fn waits(go_on: Arc<Notify>, stays: bool, told: oneshot::Sender<tokio::task::Id>) {
    if stays {
        stay_for(go_on.notified()).await;
    } else {
        go_on.notified().await;
    }
    let _ = told.send(tokio::task::id());
}

#[tokio::test]
async fn what_waits_gets_a_task_and_what_stays_open_does_not() {
    let (streams, home) = streams();
    let (go_on, end) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (begin, over) = (streams.clone(), Arc::clone(&end));
    let mut places = Vec::new();
    for stays in [false, true] {
        let (tell, told) = oneshot::channel();
        streams.execute(waits(Arc::clone(&go_on), stays, tell));
        places.push(told);
    }
    let at_once = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&at_once);
    let connection = tokio::spawn(async move {
        let connection = async {
            begin.execute(async move {
                counter.fetch_add(1, Ordering::Relaxed);
            });
            over.notified().await;
            tokio::task::id()
        };
        home.drive(connection).await
    });
    while at_once.load(Ordering::Relaxed) == 0 {
        tokio::task::yield_now().await;
    }
    tokio::task::yield_now().await;
    go_on.notify_waiters();
    let (away, at_home) = (places.remove(0).await.unwrap(), places.remove(0).await.unwrap());
    end.notify_one();
    let connection = connection.await.unwrap();
    assert_ne!(away, connection);
    assert_eq!(at_home, connection);
}

#[tokio::test]
async fn a_stream_that_waits_first_and_stays_open_then_comes_home() {
    let (streams, home) = streams();
    let (first, then, end) = (Arc::new(Notify::new()), Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (tell_away, away) = oneshot::channel();
    let (tell_home, at_home) = oneshot::channel();
    let (one, two, over) = (Arc::clone(&first), Arc::clone(&then), Arc::clone(&end));
    streams.execute(async move {
        waits(one, false, tell_away).await;
        waits(two, true, tell_home).await;
    });
    let connection = tokio::spawn(home.drive(async move {
        over.notified().await;
        tokio::task::id()
    }));
    // The connection polls it, and it waits.
    tokio::task::yield_now().await;
    first.notify_one();
    let away = away.await.unwrap();
    then.notify_one();
    let at_home = at_home.await.unwrap();
    end.notify_one();
    let connection = connection.await.unwrap();
    assert_ne!(away, connection);
    assert_eq!(at_home, connection);
}

#[tokio::test]
async fn all_streams_that_can_go_on_do_before_the_connection_writes() {
    let (streams, home) = streams();
    let written = Arc::new(AtomicUsize::new(0));
    for _ in 0..50 {
        let written = Arc::clone(&written);
        let mut polls = 0;
        streams.execute(std::future::poll_fn(move |context| {
            polls += 1;
            if polls == 1 {
                // As HTTP/2 does when it grants room to write.
                context.waker().wake_by_ref();
            } else if polls == 2 {
                written.fetch_add(1, Ordering::Relaxed);
            }
            stay_open();
            Poll::<()>::Pending
        }));
    }
    let seen = home.drive(async move { written.load(Ordering::Relaxed) }).await;
    assert_eq!(seen, 50);
}

#[tokio::test]
async fn a_stream_that_always_wakes_itself_starves_neither_its_neighbours_nor_the_connection() {
    let (streams, home) = streams();
    let (go_on, end) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    streams.execute(std::future::poll_fn(|context| {
        context.waker().wake_by_ref();
        stay_open();
        Poll::<()>::Pending
    }));
    let (tell, told) = oneshot::channel();
    streams.execute(waits(Arc::clone(&go_on), true, tell));
    let over = Arc::clone(&end);
    let connection = tokio::spawn(home.drive(async move { over.notified().await }));
    go_on.notify_one();
    told.await.unwrap();
    end.notify_one();
    connection.await.unwrap();
}

#[tokio::test]
async fn streams_end_with_their_connection() {
    let (streams, home) = streams();
    let alive = Arc::new(());
    for stays in [true, false] {
        let (held, more) = (Arc::clone(&alive), streams.clone());
        streams.execute(async move {
            if stays {
                stay_for(std::future::pending::<()>()).await;
            } else {
                std::future::pending::<()>().await;
            }
            drop((held, more));
        });
    }
    home.drive(tokio::task::yield_now()).await;
    // One is in a task of its own, which hears of the end from its stream.
    assert_eq!(Arc::strong_count(&alive), 2);
    let held = Arc::clone(&alive);
    streams.execute(async move { drop(held) });
    assert_eq!(Arc::strong_count(&alive), 2);
}
