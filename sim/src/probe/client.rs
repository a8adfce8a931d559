//! The probe on a network: requests, answers and waits.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use ringtrue::net::{DatagramSocket, Net, TrafficClass};
use stun::addr::MappedAddress;
use stun::agent::TransactionId;
use stun::attributes::{ATTR_CHANGE_REQUEST, ATTR_OTHER_ADDRESS, ATTR_RESPONSE_PORT};
use stun::message::{BINDING_REQUEST, BINDING_SUCCESS, Getter as _, Message, Setter};
use stun::xoraddr::XorMappedAddress;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::lifetime::{Search, Trial};
use super::{Classification, ProbeConfig, ProbeError};
use crate::net::nat::{Filtering, Hairpin, Mapping};
use crate::server::stun::{CHANGE_ADDRESS, CHANGE_PORT};

/// How many sockets are opened to learn how the next outer port is chosen.
const FORETELLING_SOCKETS: usize = 6;

/// The longest answer that is read.
const ANSWER_MAX: usize = 1500;

/// Requests that nothing answers to their sender go out this often, one after the other.
const BURST: u32 = 5;
/// The pause between them.
const BURST_PAUSE: Duration = Duration::from_millis(20);

/// Finds out how the NAT before `local` behaves, by the STUN server at `server`.
///
/// It takes as long as twice the time for which the NAT remembers UDP, and some seconds more.
///
/// # Errors
///
/// [`ProbeError`] where there is no NAT, or no server that can tell.
pub async fn classify(
    net: Arc<dyn Net>,
    local: IpAddr,
    server: SocketAddr,
    config: ProbeConfig,
) -> Result<Classification, ProbeError> {
    let probe = Probe {
        net,
        local,
        server,
        config,
    };
    let mapping = probe.mapping().await?;
    let filtering = probe.filtering().await?;
    Ok(Classification {
        mapping,
        filtering,
        hairpin: probe.hairpin(mapping, filtering).await?,
        udp_lifetime: probe.lifetime().await?,
    })
}

struct Probe {
    net: Arc<dyn Net>,
    local: IpAddr,
    server: SocketAddr,
    config: ProbeConfig,
}

/// What a server tells in an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Answer {
    mapped: SocketAddr,
    other: Option<SocketAddr>,
}

/// From where an answer is asked for: the flags of CHANGE-REQUEST.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct From(u8);

impl From {
    const SAME: Self = Self(0);
    const OTHER_PORT: Self = Self(CHANGE_PORT);
    const OTHER_ADDRESS_AND_PORT: Self = Self(CHANGE_ADDRESS | CHANGE_PORT);
}

/// A binding that nobody uses, until it is tried.
struct Idle {
    socket: Arc<dyn DatagramSocket>,
    mapped: SocketAddr,
    /// Between these two the NAT last saw a packet of it.
    last_used: (Instant, Instant),
    round_trip: Duration,
}

impl Probe {
    /// RFC 5780 section 4.3: one socket asks at three corners of the server.
    async fn mapping(&self) -> Result<Mapping, ProbeError> {
        let socket = self.bind().await?;
        let first = self.must_answer(&*socket, self.server).await?;
        let local = socket.local_addr()?;
        if first.mapped == local {
            return Err(ProbeError::NoNat { local });
        }
        let other = self.other(first)?;
        let other_address = SocketAddr::new(other.ip(), self.server.port());
        let second = self.must_answer(&*socket, other_address).await?;
        if second.mapped == first.mapped {
            return Ok(Mapping::EndpointIndependent);
        }
        let third = self.must_answer(&*socket, other).await?;
        Ok(if third.mapped == second.mapped {
            Mapping::AddressDependent
        } else {
            Mapping::AddressAndPortDependent
        })
    }

    /// RFC 5780 section 4.4: a fresh socket, which has sent to one corner only, asks for answers
    /// from others.
    async fn filtering(&self) -> Result<Filtering, ProbeError> {
        let socket = self.bind().await?;
        let first = self.must_answer(&*socket, self.server).await?;
        self.other(first)?;
        for (from, filtering) in [
            (From::OTHER_ADDRESS_AND_PORT, Filtering::EndpointIndependent),
            (From::OTHER_PORT, Filtering::AddressDependent),
        ] {
            if self.ask(&*socket, self.server, from).await?.is_some() {
                return Ok(filtering);
            }
        }
        Ok(Filtering::AddressAndPortDependent)
    }

    /// RFC 5780 section 4.5, taken further. A request to an outer address of one's own comes back
    /// where the NAT hairpins, but only if the binding that has this address admits the address that
    /// the request gets. Where the mapping is endpoint-independent the two are one binding, which
    /// has sent to itself by this very request. Where the filtering is, anything is admitted. Else
    /// the request has to be the first of its socket, and go to the outer port that the NAT is about
    /// to choose for it.
    async fn hairpin(
        &self,
        mapping: Mapping,
        filtering: Filtering,
    ) -> Result<Option<Hairpin>, ProbeError> {
        let comes_back_anyhow =
            mapping == Mapping::EndpointIndependent || filtering == Filtering::EndpointIndependent;
        if comes_back_anyhow {
            let socket = self.bind().await?;
            let mapped = self.must_answer(&*socket, self.server).await?.mapped;
            let seen = self.comes_back(&*socket, mapped).await?;
            return Ok(Some(seen));
        }
        let mut ports = Vec::new();
        let mut nat = self.server.ip();
        for _ in 0..FORETELLING_SOCKETS {
            let socket = self.bind().await?;
            let mapped = self.must_answer(&*socket, self.server).await?.mapped;
            nat = mapped.ip();
            ports.push((socket.local_addr()?.port(), mapped.port()));
        }
        let socket = self.bind().await?;
        let Some(port) = foretold(&ports, socket.local_addr()?.port()) else {
            return Ok(None);
        };
        let aim = SocketAddr::new(nat, port);
        Ok(Some(self.comes_back(&*socket, aim).await?))
    }

    async fn comes_back(
        &self,
        socket: &dyn DatagramSocket,
        to: SocketAddr,
    ) -> Result<Hairpin, ProbeError> {
        let request = request(From::SAME, None);
        let is_it = |message: &Message| {
            message.typ == BINDING_REQUEST && message.transaction_id == request.transaction_id
        };
        let came = self.send_until(socket, &request, to, is_it).await?;
        let inside = socket.local_addr()?;
        Ok(match came {
            Some((_, source)) if source == inside => Hairpin::InternalSource,
            Some(_) => Hairpin::Translated,
            None => Hairpin::Refused,
        })
    }

    /// RFC 5780 section 4.6: bindings are left alone for different times, then an answer is sent to
    /// each of them, on request of another socket.
    async fn lifetime(&self) -> Result<Option<std::ops::RangeInclusive<Duration>>, ProbeError> {
        let mut search = Search::new(self.config.lifetime_max);
        loop {
            let waits = search.next_waits();
            if waits.is_empty() {
                return Ok(search.result());
            }
            let bindings = join_all(waits.iter().map(|_| self.idle())).await;
            let mut trials = Vec::new();
            for (wait, binding) in waits.iter().zip(bindings) {
                let trial = self.try_after(*wait, &binding?).await?;
                trials.push(trial);
                if matches!(trial, Trial::Dead { .. }) {
                    break;
                }
            }
            search.note(&trials);
        }
    }

    async fn idle(&self) -> Result<Idle, ProbeError> {
        let socket = self.bind().await?;
        let asked = Instant::now();
        let mapped = self.must_answer(&*socket, self.server).await?.mapped;
        let answered = Instant::now();
        Ok(Idle {
            socket,
            mapped,
            last_used: (asked, answered),
            round_trip: answered - asked,
        })
    }

    async fn try_after(&self, wait: Duration, binding: &Idle) -> Result<Trial, ProbeError> {
        let Idle {
            socket,
            mapped,
            last_used: (earliest, latest),
            round_trip,
        } = binding;
        sleep_until(*latest + wait).await;
        let other = self.bind().await?;
        let request = request(From::SAME, Some(mapped.port()));
        let asked = Instant::now();
        for _ in 0..BURST {
            other.send_to(&request.raw, self.server).await?;
            sleep(BURST_PAUSE).await;
        }
        let last_asked = Instant::now();
        let deadline = last_asked + *round_trip + self.config.retransmission_timeout;
        let is_it = |message: &Message| message.transaction_id == request.transaction_id;
        Ok(match receive(&**socket, deadline, is_it).await? {
            Some(_) => Trial::Alive {
                for_at_least: asked - *latest,
            },
            None => Trial::Dead {
                after_at_most: last_asked + *round_trip - *earliest,
            },
        })
    }

    async fn bind(&self) -> Result<Arc<dyn DatagramSocket>, ProbeError> {
        let any_port = SocketAddr::new(self.local, 0);
        Ok(self
            .net
            .bind_datagram(any_port, TrafficClass::BestEffort)
            .await?)
    }

    fn other(&self, answer: Answer) -> Result<SocketAddr, ProbeError> {
        let server = self.server;
        answer.other.ok_or(ProbeError::NoOtherAddress { server })
    }

    async fn must_answer(
        &self,
        socket: &dyn DatagramSocket,
        server: SocketAddr,
    ) -> Result<Answer, ProbeError> {
        self.ask(socket, server, From::SAME)
            .await?
            .ok_or(ProbeError::NoAnswer { server })
    }

    async fn ask(
        &self,
        socket: &dyn DatagramSocket,
        server: SocketAddr,
        from: From,
    ) -> Result<Option<Answer>, ProbeError> {
        let request = request(from, None);
        let is_it = |message: &Message| {
            message.typ == BINDING_SUCCESS && message.transaction_id == request.transaction_id
        };
        let answer = self.send_until(socket, &request, server, is_it).await?;
        Ok(answer.and_then(|(message, _)| read(&message)))
    }

    /// Repeats a request until what is waited for comes.
    async fn send_until(
        &self,
        socket: &dyn DatagramSocket,
        request: &Message,
        to: SocketAddr,
        is_it: impl Fn(&Message) -> bool,
    ) -> Result<Option<(Message, SocketAddr)>, ProbeError> {
        for _ in 0..self.config.requests_max {
            socket.send_to(&request.raw, to).await?;
            let deadline = Instant::now() + self.config.retransmission_timeout;
            if let Some(received) = receive(socket, deadline, &is_it).await? {
                return Ok(Some(received));
            }
        }
        Ok(None)
    }
}

/// The outer port of the next binding, of a socket with the port `inside`, from the inner and outer
/// ports of bindings made one after the other. Ports that are preserved, counted up, or moved out of
/// the way of others keep their distance from the inner ones, at least among those of one parity.
/// `None` where the last two of them show no such rule.
fn foretold(ports: &[(u16, u16)], inside: u16) -> Option<u16> {
    let alike = |(own, _): &&(u16, u16)| own % 2 == inside % 2;
    let mut distances = ports
        .iter()
        .rev()
        .filter(alike)
        .map(|(own, outer)| i32::from(*outer) - i32::from(*own));
    let (last, before) = (distances.next()?, distances.next()?);
    let port = u16::try_from(i32::from(inside) + last).ok()?;
    (last == before).then_some(port)
}

fn request(from: From, response_port: Option<u16>) -> Message {
    let mut message = Message::new();
    let setters: Vec<Box<dyn Setter>> =
        vec![Box::new(TransactionId::new()), Box::new(BINDING_REQUEST)];
    message
        .build(&setters)
        .expect("a header has room for its fields");
    if from != From::SAME {
        message.add(ATTR_CHANGE_REQUEST, &[0, 0, 0, from.0]);
    }
    if let Some(port) = response_port {
        // RFC 5780 section 7.5: the port, and two bytes that are reserved.
        let [high, low] = port.to_be_bytes();
        message.add(ATTR_RESPONSE_PORT, &[high, low, 0, 0]);
    }
    message
}

fn read(message: &Message) -> Option<Answer> {
    let mut mapped = XorMappedAddress::default();
    mapped.get_from(message).ok()?;
    let mut other = MappedAddress::default();
    let has_other = other.get_from_as(message, ATTR_OTHER_ADDRESS).is_ok();
    Some(Answer {
        mapped: SocketAddr::new(mapped.ip, mapped.port),
        other: has_other.then(|| SocketAddr::new(other.ip, other.port)),
    })
}

/// The first message that is the right one; `None` where none comes before `deadline`.
async fn receive(
    socket: &dyn DatagramSocket,
    deadline: Instant,
    is_it: impl Fn(&Message) -> bool,
) -> Result<Option<(Message, SocketAddr)>, ProbeError> {
    let mut buffer = [0; ANSWER_MAX];
    loop {
        let Ok(received) = timeout_at(deadline, socket.recv_from(&mut buffer)).await else {
            return Ok(None);
        };
        let (length, source) = received?;
        let mut message = Message::new();
        if message.unmarshal_binary(&buffer[..length]).is_ok() && is_it(&message) {
            return Ok(Some((message, source)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_that_follow_a_rule_are_foretold() {
        let preserved = [(50, 50), (51, 51), (52, 52), (53, 53)];
        assert_eq!(foretold(&preserved, 54), Some(54));
        let counted = [(50, 1024), (51, 1025), (52, 1026), (53, 1027)];
        assert_eq!(foretold(&counted, 54), Some(1028));
        let out_of_the_way = [(50, 58), (51, 51), (52, 60), (53, 53)];
        assert_eq!(foretold(&out_of_the_way, 54), Some(62));
        let random = [(50, 9), (51, 4711), (52, 90), (53, 815)];
        assert_eq!(foretold(&random, 54), None);
    }
}
