//! Lifecycle events of one domain: what libvirt tells us, so that nobody has to ask again and again.

use std::ffi::{c_int, c_void};
use std::sync::{Arc, OnceLock};

use tokio::sync::Notify;
use virt::connect::Connect;
use virt::domain::Domain;
use virt::error::Error;
use virt::{event, sys};

/// How long the event loop rests after an error of its own, so that a broken one costs nothing.
const LOOP_REST: std::time::Duration = std::time::Duration::from_secs(1);

/// Starts libvirt's event loop, once in the life of a process; connections opened afterwards can tell events.
pub(super) fn start_loop() {
    static STARTED: OnceLock<()> = OnceLock::new();
    STARTED.get_or_init(|| {
        if let Err(error) = event::event_register_default_impl() {
            tracing::debug!("libvirt's event loop cannot be used: {error}");
            return;
        }
        let run = || loop {
            if let Err(error) = event::event_run_default_impl() {
                tracing::debug!("libvirt's event loop stumbled: {error}");
                std::thread::sleep(LOOP_REST);
            }
        };
        if let Err(error) = std::thread::Builder::new().name("libvirt-events".to_owned()).spawn(run) {
            tracing::debug!("libvirt's event loop has no thread: {error}");
        }
    });
}

/// Says when something happens to a domain, for as long as it is kept.
pub(super) struct Watch {
    connection: Connect,
    id: c_int,
    happened: Arc<Notify>,
}

impl Watch {
    /// Begins to listen; what happens from now on is not missed.
    #[expect(unsafe_code, reason = "the libvirt bindings have no safe call for domain events")]
    pub(super) fn new(connection: &Connect, domain: &Domain) -> Result<Self, Error> {
        let connection = connection.clone();
        let happened = Arc::new(Notify::new());
        let opaque = Arc::into_raw(Arc::clone(&happened)).cast_mut().cast::<c_void>();
        // SAFETY: libvirt casts the callback back to the type of `on_lifecycle`, which is the one that this event has.
        let callback = unsafe {
            std::mem::transmute::<
                LifecycleCallback,
                unsafe extern "C" fn(sys::virConnectPtr, sys::virDomainPtr, *mut c_void),
            >(on_lifecycle)
        };
        let event = c_int::try_from(sys::VIR_DOMAIN_EVENT_ID_LIFECYCLE).expect("the number of an event is small");
        // SAFETY: both pointers live as long as their owners, which outlive the call; `opaque` is freed by `free`.
        let id = unsafe {
            sys::virConnectDomainEventRegisterAny(
                connection.as_ptr(),
                domain.as_ptr(),
                event,
                Some(callback),
                opaque,
                Some(free),
            )
        };
        if id < 0 {
            // SAFETY: libvirt has not taken the pointer, so it is still ours to free.
            unsafe { free(opaque) };
            return Err(Error::last_error());
        }
        Ok(Self { connection, id, happened })
    }

    /// Waits for the next event, or for one that came since the last call.
    pub(super) async fn next(&self) {
        self.happened.notified().await;
    }
}

impl Drop for Watch {
    #[expect(unsafe_code, reason = "the libvirt bindings have no safe call for domain events")]
    fn drop(&mut self) {
        // SAFETY: the connection is open, and the id is the one that it gave us.
        unsafe { sys::virConnectDomainEventDeregisterAny(self.connection.as_ptr(), self.id) };
    }
}

type LifecycleCallback =
    unsafe extern "C" fn(sys::virConnectPtr, sys::virDomainPtr, c_int, c_int, *mut c_void) -> c_int;

#[expect(unsafe_code, reason = "the signature is libvirt's")]
unsafe extern "C" fn on_lifecycle(
    _: sys::virConnectPtr,
    _: sys::virDomainPtr,
    _: c_int,
    _: c_int,
    opaque: *mut c_void,
) -> c_int {
    // SAFETY: `opaque` is the pointer that was registered; `free` has not been called yet.
    unsafe { &*opaque.cast::<Notify>() }.notify_one();
    0
}

#[expect(unsafe_code, reason = "the signature is libvirt's")]
unsafe extern "C" fn free(opaque: *mut c_void) {
    // SAFETY: libvirt calls this once, after the last event.
    drop(unsafe { Arc::from_raw(opaque.cast::<Notify>().cast_const()) });
}
