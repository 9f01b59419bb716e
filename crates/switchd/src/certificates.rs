//! Certificates for development: an authority, and what it signs. For a shop floor use an authority of your own.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};

/// How long they are good for.
const YEARS: i32 = 5;

/// A certificate and its key, both PEM.
pub(crate) struct Pair {
    /// The certificate.
    pub(crate) certificate: String,
    /// Its private key.
    pub(crate) key: String,
}

/// An authority that signs the others.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate and key.
    pub(crate) pair: Pair,
    year: i32,
}

/// What a certificate is for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Usage {
    /// Of a server on this machine: `localhost`, `127.0.0.1`, `::1`.
    LocalServer,
    /// Of a client.
    Client,
}

impl Authority {
    /// A new one. `wall_ms` is the time now, milliseconds since 1970.
    pub(crate) fn generate(wall_ms: u64) -> Result<Self, rcgen::Error> {
        // Days of a mean year are near enough for a validity that begins a year early.
        let year = i32::try_from(wall_ms / 31_556_952_000).unwrap_or(0) + 1970;
        let mut params = params("switchd development authority", year);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let pair = Pair { certificate: params.self_signed(&key)?.pem(), key: key.serialize_pem() };
        Ok(Authority { issuer: Issuer::new(params, key), pair, year })
    }

    /// Signs a new certificate with this common name.
    pub(crate) fn sign(&self, name: &str, usage: Usage) -> Result<Pair, rcgen::Error> {
        let mut params = params(name, self.year);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        match usage {
            Usage::LocalServer => {
                params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
                let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
                params.subject_alt_names = CertificateParams::new(names)?.subject_alt_names;
            }
            Usage::Client => params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth],
        }
        let key = KeyPair::generate()?;
        Ok(Pair { certificate: params.signed_by(&key, &self.issuer)?.pem(), key: key.serialize_pem() })
    }
}

fn params(name: &str, year: i32) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.use_authority_key_identifier_extension = true;
    params.not_before = date_time_ymd(year - 1, 1, 1);
    params.not_after = date_time_ymd(year + YEARS, 1, 1);
    params
}
