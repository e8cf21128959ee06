//! What the streams send: the present list, made ready once for all of them.
//!
//! ```text
//! product's list ──► at most one in 20 ms ──► Listing (list, whether we are silent) ──► every stream
//! ```
//!
//! A stream takes the newest listing when its reader has room, and none in between: whoever reads slowly holds one message.
//!
//! What it does not do: it sends nothing that has not changed. The kubelet writes its whole checkpoint after each list.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use outrigger_kubelet_api::MAX_MESSAGE;
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::error;

use crate::list::{DeviceList, Fit};
use crate::resource::Resource;
use crate::state::Board;

/// The least time from one list to the next.
const BURST: Duration = Duration::from_millis(20);

/// What streams send now.
#[derive(Clone, Debug, Default)]
pub(crate) struct Listing {
    pub(crate) list: Arc<DeviceList>,
    /// Whether nothing is sent, because a newer instance is served.
    pub(crate) silent: bool,
}

/// Makes the lists of a resource ready, until it is dropped.
pub(crate) async fn publish(
    mut resource: watch::Receiver<Arc<Resource>>,
    mut silence: watch::Receiver<bool>,
    listings: &watch::Sender<Listing>,
    board: &Board,
) {
    let mut product = resource.borrow_and_update().list.clone();
    loop {
        let list = Arc::clone(&product.borrow_and_update());
        let silent = *silence.borrow_and_update();
        make_ready(list, silent, listings, board);
        sleep(BURST).await;
        tokio::select! {
            () = changed(&mut product) => (),
            () = changed(&mut silence) => (),
            () = changed(&mut resource) => product = resource.borrow_and_update().list.clone(),
        }
    }
}

/// Waits for the next value; where the sender is gone the last one stays.
async fn changed<T>(values: &mut watch::Receiver<T>) {
    if values.changed().await.is_err() {
        pending::<()>().await;
    }
}

fn make_ready(list: Arc<DeviceList>, silent: bool, listings: &watch::Sender<Listing>, board: &Board) {
    let before = listings.borrow().clone();
    if before.silent == silent && before.list == list {
        return;
    }
    let fit = list.fit();
    if fit.withheld > 0 && fit != before.list.fit() {
        let (resource, Fit { listed, withheld, bytes }) = (board.name(), fit);
        error!(
            %resource, listed, withheld, bytes,
            "The list of {resource} would take {bytes} bytes and {MAX_MESSAGE} are the most: {listed} devices are listed, {withheld} are withheld"
        );
    }
    board.write(|state| {
        (state.listed, state.withheld, state.list_bytes) = (fit.listed, fit.withheld, fit.bytes);
        state.silent = silent;
    });
    listings.send_replace(Listing { list, silent });
}
