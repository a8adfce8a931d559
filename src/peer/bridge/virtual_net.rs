//! The virtual network that the ICE agent opens its sockets on.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::mpsc;
use webrtc_util::vnet::interface::Interface as VirtualInterface;
use webrtc_util::vnet::net::{Net as VirtualNet, NetConfig};
use webrtc_util::vnet::router::{Router, RouterConfig};

use super::families::HostAddresses;
use super::traffic::Packet;
use super::{BridgeError, Family, OUTBOUND_PACKETS_MAX};

/// The interface of every virtual network that is not loopback.
const VIRTUAL_INTERFACE: &str = "eth0";

/// A virtual network whose every packet goes to `outbound` instead of being routed.
pub(super) async fn open_virtual_net(
    addresses: &HostAddresses,
    outbound: mpsc::Sender<Packet>,
) -> Result<(Arc<VirtualNet>, Arc<tokio::sync::Mutex<Router>>), BridgeError> {
    let virtual_net = Arc::new(VirtualNet::new(Some(NetConfig {
        static_ips: addresses
            .seen(Family::V4)
            .iter()
            .map(ToString::to_string)
            .collect(),
        ..NetConfig::default()
    })));
    let mut router = Router::new(RouterConfig {
        // Without a name the router takes one from a counter of the whole process.
        name: "bridge".into(),
        cidr: "0.0.0.0/0".into(),
        ..RouterConfig::default()
    })?;
    let nic = virtual_net.get_nic()?;
    router.add_net(Arc::clone(&nic)).await?;
    // A router has one family; the interface that it has filled takes the other as well.
    let v6: Result<Vec<_>, _> = addresses
        .seen(Family::V6)
        .into_iter()
        .map(|address| VirtualInterface::convert(SocketAddr::new(address, 0), None))
        .collect();
    nic.lock()
        .await
        .add_addrs_to_interface(VIRTUAL_INTERFACE, &v6?)
        .await?;
    router
        .add_chunk_filter(Box::new(move |chunk| {
            let packet = Packet {
                local: chunk.source_addr(),
                remote: chunk.destination_addr(),
                payload: chunk.user_data(),
            };
            if outbound.try_send(packet).is_err() {
                tracing::debug!("datagram dropped: {OUTBOUND_PACKETS_MAX} wait to be sent already");
            }
            false
        }))
        .await;
    start_router(&mut router);
    let router = Arc::new(tokio::sync::Mutex::new(router));
    nic.lock().await.set_router(Arc::clone(&router)).await?;
    Ok((virtual_net, router))
}

/// Starts the router's task. The future only starts child routers, of which there are none, and
/// could not be kept across an await of a task that moves between threads.
fn start_router(router: &mut Router) {
    drop(router.start());
}

pub(super) fn stop_router(router: &mut Router) {
    drop(router.stop());
}
