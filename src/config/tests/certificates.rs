//! Certificates: what is taken, and what is said of the rest.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use super::*;

/// A CA, as a file that others are issued by.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    file: Scratch,
}

/// A certificate and its key.
struct Issued {
    certificate: Scratch,
    key: Scratch,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), file: Scratch::new(name, pem) }
    }

    fn issue(&self, file: &str, id: &str, year_of_end: i32) -> Issued {
        let mut params = CertificateParams::new([id.to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(year_of_end, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Issued {
            certificate: Scratch::new(&format!("{file}.pem"), certificate.pem()),
            key: Scratch::new(&format!("{file}.key"), key.serialize_pem()),
        }
    }
}

const FAR: i32 = 4000;

fn peers(issued: &Issued, ca: &Authority) -> String {
    let (certificate, key) = (issued.certificate.path(), issued.key.path());
    let ca = ca.file.path();
    format!("peers: {{tls: {{certificate_file: {certificate}, key_file: {key}, ca_file: {ca}}}}}")
}

/// The one problem with `text`.
fn problem(text: &str) -> Problem {
    let mut problems = based(text).unwrap_err();
    assert_eq!(problems.len(), 1, "{problems:?}");
    problems.remove(0)
}

#[test]
fn a_node_is_named_by_a_certificate_of_the_ca() {
    let ca = Authority::new("named-ca");
    let snapshot = based(&peers(&ca.issue("named", "edge1", FAR), &ca)).unwrap();
    let endpoint = snapshot.tls.peers.as_ref().unwrap();
    assert!(endpoint.trust.is_some() && snapshot.tls.clients.is_none());
    assert_eq!(snapshot.warnings(), []);
    assert!(!format!("{snapshot:?}").contains("PRIVATE KEY"));
}

#[test]
fn a_certificate_of_another_node_or_ca_is_refused() {
    let (ca, another) = (Authority::new("one-ca"), Authority::new("another-ca"));
    for (name, id, part) in [
        (
            "of-edge2",
            "edge2",
            "names edge2, not this node; issue one whose subjectAltName has DNS:edge1",
        ),
        ("wild", "*.edge1", "names no node"),
        ("case", "EDGE1", "names EDGE1, not this node"),
    ] {
        let problem = problem(&peers(&ca.issue(name, id, FAR), &ca));
        assert_eq!(problem.key, "peers.tls.certificate_file");
        assert!(problem.to_string().contains(part), "{problem}");
    }
    let problem = problem(&peers(&another.issue("strange", "edge1", FAR), &ca));
    assert_eq!(problem.key, "peers.tls.certificate_file");
    assert!(problem.to_string().contains("would not be taken by others"), "{problem}");
}

#[test]
fn files_that_do_not_go_together_are_told_by_their_key() {
    let ca = Authority::new("apart-ca");
    let (one, other) = (ca.issue("apart-1", "edge1", FAR), ca.issue("apart-2", "edge1", FAR));
    let text = peers(&one, &ca);
    for (from, to, key) in [
        (one.key.path(), other.key.path(), "key_file"),
        (one.key.path(), ca.file.path(), "key_file"),
        (one.key.path(), "/nowhere/key", "key_file"),
        (one.certificate.path(), one.key.path(), "certificate_file"),
        (one.certificate.path(), "/nowhere/certificate", "certificate_file"),
        (ca.file.path(), one.key.path(), "ca_file"),
    ] {
        let problem = problem(&text.replace(from, to));
        assert_eq!(problem.key, format!("peers.tls.{key}"), "{problem}");
        assert!(key != "key_file" || problem.value.is_empty(), "{problem}");
    }
}

#[test]
fn what_is_missing_is_told() {
    for (text, key) in [
        ("listen: {tls: {certificate_file: x}}", "listen.tls.key_file"),
        ("listen: {tls: {key_file: x}}", "listen.tls.certificate_file"),
        ("listen: {tls: {ca_file: x}}", "listen.tls.ca_file"),
    ] {
        assert_eq!(problem(text).key, key);
    }
    let ca = Authority::new("missing-ca");
    let issued = ca.issue("missing", "edge1", FAR);
    let text = peers(&issued, &ca);
    let without = text.split(", ca_file").next().unwrap().to_owned() + "}}";
    assert_eq!(problem(&without).key, "peers.tls.ca_file");
}

#[test]
fn a_node_that_no_certificate_can_name_is_told() {
    let ca = Authority::new("unnamed-ca");
    let issued = ca.issue("unnamed", "edge1", FAR);
    let text = peers(&issued, &ca);
    let problems = load(&format!("{}{text}", BASE.replace("edge2", "-2"))).unwrap_err();
    assert_eq!(problems[0].key, "topology[2].id");
}

#[test]
fn the_admin_port_binds_wide_for_operators_with_certificates() {
    let ca = Authority::new("wide-ca");
    let issued = ca.issue("wide", "any.name", FAR);
    let wide = "listen: {admin: '0.0.0.0:31114'}\n";
    let tls = format!("{wide}{}", peers(&issued, &ca).replace("peers", "admin"));
    assert!(based(&tls).unwrap().tls.operators.is_some());
    let without_ca = tls.split(", ca_file").next().unwrap().to_owned() + "}}";
    assert_eq!(problem(&without_ca).key, "listen.admin");
}

#[test]
fn an_old_certificate_keeps_nobody_from_starting_but_replaces_no_good_one() {
    let ca = Authority::new("old-ca");
    let (good, old) = (ca.issue("good", "edge1", FAR), ca.issue("old", "edge1", 2001));
    let begun = based(&peers(&old, &ca)).unwrap();
    let warnings = begun.warnings();
    assert_eq!(warnings.len(), 1);
    assert_eq!(warnings[0].key, "peers.tls.certificate_file");
    let snapshot = based(&peers(&good, &ca)).unwrap();
    let change = Change::Text(format!("{BASE}{}", peers(&old, &ca)));
    assert_eq!(snapshot.with(&change).unwrap_err(), warnings);
    begun.with(&change).unwrap();
}

#[test]
fn files_that_change_are_read_again_and_bad_ones_change_nothing() {
    let ca = Authority::new("again-ca");
    let issued = ca.issue("again", "edge1", FAR);
    let snapshot = based(&peers(&issued, &ca)).unwrap();
    let digest = snapshot.tls.digest();
    assert!(digest.is_some() && digest == snapshot.tls.digest_of_files());
    let same = snapshot.with(&Change::Certificates).unwrap();
    let peers_of = |s: &Snapshot| Arc::clone(s.tls.peers.as_ref().unwrap());
    assert!(Arc::ptr_eq(&peers_of(&same), &peers_of(&snapshot)), "what is the same stays");

    let renewed = ca.issue("renewed", "edge1", FAR);
    std::fs::copy(renewed.certificate.path(), issued.certificate.path()).unwrap();
    assert_ne!(snapshot.tls.digest_of_files(), digest);
    let half = snapshot.with(&Change::Certificates).unwrap_err();
    assert_eq!(half[0].key, "peers.tls.key_file", "the key is still the old one");
    std::fs::copy(renewed.key.path(), issued.key.path()).unwrap();
    let next = snapshot.with(&Change::Certificates).unwrap();
    assert_ne!(next.tls, snapshot.tls);
    assert_eq!(next.generation, snapshot.generation + 1);
}
