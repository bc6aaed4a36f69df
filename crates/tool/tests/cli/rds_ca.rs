//! The certificate authorities of RDS that are packed with function and tool.

use openssl::asn1::Asn1Time;
use openssl::x509::X509;

/// Enough time to renew them and deploy.
const DAYS_AHEAD: u32 = 90;

#[test]
fn the_authorities_of_rds_are_renewed_before_they_expire() {
    let bundle = include_bytes!("../../../../src/database/rds-ca.pem");
    let authorities = X509::stack_from_pem(bundle).unwrap();
    assert!(authorities.len() > 50);
    let until = Asn1Time::days_from_now(DAYS_AHEAD).unwrap();
    for authority in authorities {
        let name = authority
            .subject_name()
            .entries()
            .map(|entry| entry.data().to_string());
        let name: Vec<String> = name.map(Result::unwrap).collect();
        assert!(
            authority.not_after() > until,
            "{name:?} expires: run `make rds-ca`"
        );
        assert!(name.iter().any(|part| part == "Amazon RDS"), "{name:?}");
    }
}
