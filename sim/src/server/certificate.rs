//! A certificate authority of a run's own, and what its servers show.

use std::fmt;
use std::time::Duration;

use rcgen::{BasicConstraints, Certificate, CertificateParams, IsCa, KeyPair};
use ringtrue::net::tls::{TlsAcceptor, TlsConfigError, TlsTrust};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use thiserror::Error;

use crate::determinism::REALTIME_AT_START;
use crate::scenario::model::CertificateKind;

/// How long before the run a certificate becomes valid, and how long after its begin it ends. No run
/// is longer.
const VALID_FOR: Duration = Duration::from_hours(30 * 24);
/// How long before the run an expired certificate has ended.
const EXPIRED_SINCE: Duration = Duration::from_hours(24);
/// A name that no server of a world has.
const OTHER_NAME: &str = "other.ringtrue.example";

/// Makes certificates. Keys are drawn from the entropy of the run.
pub struct Authority {
    certificate: Certificate,
    key: KeyPair,
}

/// Why no certificate can be made.
#[derive(Debug, Error)]
pub enum CertificateError {
    /// The name is none that a certificate can be for, or a key could not be made.
    #[error("no certificate can be made for {host:?}")]
    Unmade {
        /// The server's name.
        host: String,
        /// The reason.
        source: rcgen::Error,
    },
    /// What was made cannot be used.
    #[error("the certificate for {host:?} cannot be used")]
    Unusable {
        /// The server's name.
        host: String,
        /// The reason.
        source: TlsConfigError,
    },
}

impl Authority {
    /// An authority that nobody knows yet.
    ///
    /// # Panics
    ///
    /// Never: it has no name that could be wrong, and entropy does not end.
    #[must_use]
    pub fn new() -> Self {
        let key = KeyPair::generate().expect("entropy does not end");
        let mut parameters = CertificateParams::new([]).expect("no name is wrong");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = parameters.self_signed(&key).expect("the key is whole");
        Self { certificate, key }
    }

    /// Trust in what this authority makes, and in nothing else.
    #[must_use]
    pub fn trust(&self) -> TlsTrust {
        TlsTrust::Roots(vec![self.certificate.der().clone()])
    }

    /// What the server `host` shows to its clients.
    ///
    /// # Errors
    ///
    /// Every [`CertificateError`].
    pub fn acceptor(
        &self,
        host: &str,
        kind: CertificateKind,
    ) -> Result<TlsAcceptor, CertificateError> {
        let unmade = |source| CertificateError::Unmade {
            host: host.to_owned(),
            source,
        };
        let name = match kind {
            CertificateKind::OtherName => OTHER_NAME,
            _ => host,
        };
        let mut parameters = CertificateParams::new([name.to_owned()]).map_err(unmade)?;
        let now = rcgen::date_time_ymd(1970, 1, 1) + REALTIME_AT_START;
        parameters.not_before = now - VALID_FOR;
        parameters.not_after = match kind {
            CertificateKind::Expired => now - EXPIRED_SINCE,
            _ => now + VALID_FOR,
        };
        let key = KeyPair::generate().map_err(unmade)?;
        let stranger;
        let issuer = match kind {
            CertificateKind::UnknownAuthority => {
                stranger = Self::new();
                &stranger
            }
            _ => self,
        };
        let certificate = parameters
            .signed_by(&key, &issuer.certificate, &issuer.key)
            .map_err(unmade)?;
        let chain = vec![certificate.der().clone()];
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        TlsAcceptor::new(chain, key).map_err(|source| CertificateError::Unusable {
            host: host.to_owned(),
            source,
        })
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Authority").finish_non_exhaustive()
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}
