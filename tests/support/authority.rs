//! The authority of a directory made by `switchd init`, in the test's own hands: it signs what `init` never would.
//!
//! Invariant: the switch trusts what it signs, as it is signed with the same name and key.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber,
    date_time_ymd,
};

/// See the module.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    tls: PathBuf,
}

/// Years in which a certificate is good: from January of the first to January of the second.
pub(crate) type Years = (i32, i32);

/// Past and over.
pub(crate) const EXPIRED: Years = (2020, 2021);
/// For as long as anybody runs this.
pub(crate) const GOOD: Years = (2020, 4000);

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.use_authority_key_identifier_extension = true;
    params
}

fn client(name: &str) -> CertificateParams {
    let mut client = params(name);
    client.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    client
}

/// So many days from now, in the type that is wanted.
fn in_days<T: From<SystemTime>>(days: u64) -> T {
    T::from(SystemTime::now() + Duration::from_secs(days * 86_400))
}

impl Authority {
    /// Of the directory of certificates of a site.
    pub(crate) fn of(tls: &Path) -> Self {
        Self::with_key(tls, &fs::read_to_string(tls.join("ca.key")).expect("init made it"))
    }

    /// One with the same name and another key: nobody trusts it.
    pub(crate) fn impostor(tls: &Path) -> Self {
        Self::with_key(tls, &KeyPair::generate().expect("keys can be made").serialize_pem())
    }

    /// Another one altogether.
    pub(crate) fn named(name: &str, tls: &Path) -> Self {
        Self::with(name, tls, &KeyPair::generate().expect("keys can be made").serialize_pem())
    }

    fn with_key(tls: &Path, key: &str) -> Self {
        Self::with("switchd development authority", tls, key)
    }

    fn with(name: &str, tls: &Path, key: &str) -> Self {
        let mut own = params(name);
        own.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        own.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::from_pem(key).expect("it is a key");
        Authority { issuer: Issuer::new(own, key), tls: tls.to_owned() }
    }

    /// Signs a client's certificate with this common name and serial number, to `file.pem` and `file.key`.
    pub(crate) fn sign(&self, file: &str, name: &str, serial: u64, (from, to): Years) {
        let mut client = client(name);
        client.serial_number = Some(SerialNumber::from(serial));
        client.not_before = date_time_ymd(from, 1, 1);
        client.not_after = date_time_ymd(to, 1, 1);
        self.write(file, client);
    }

    /// The same for one that ends so many days from now.
    pub(crate) fn sign_for_days(&self, file: &str, name: &str, days: u64) {
        let mut client = client(name);
        client.not_after = in_days(days);
        self.write(file, client);
    }

    /// Signs a certificate of the switch that ends so many days from now, in the place of the one of `init`.
    pub(crate) fn sign_server(&self, days: u64) {
        let mut server = params("switchd");
        server.subject_alt_names = CertificateParams::new(["localhost".to_owned()]).expect("it is a name").subject_alt_names;
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        server.not_after = in_days(days);
        self.write("server", server);
    }

    fn write(&self, file: &str, params: CertificateParams) {
        let key = KeyPair::generate().expect("keys can be made");
        let certificate = params.signed_by(&key, &self.issuer).expect("the authority may sign");
        fs::write(self.tls.join(format!("{file}.pem")), certificate.pem()).expect("the directory is ours");
        fs::write(self.tls.join(format!("{file}.key")), key.serialize_pem()).expect("the directory is ours");
    }

    /// A revocation list of these serial numbers, to `ca.crl`; good until January of this year.
    pub(crate) fn revoke(&self, serials: &[u64], next_update: i32) {
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2021, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(next_update, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = list.signed_by(&self.issuer).expect("the authority may sign").pem().expect("it can be written");
        fs::write(self.tls.join("ca.crl"), list).expect("the directory is ours");
    }
}
