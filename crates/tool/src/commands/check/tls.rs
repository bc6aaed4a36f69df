//! TLS: what is verified, and when the server's certificate expires.

use openssl::asn1::Asn1Time;
use openssl::error::ErrorStack;
use openssl::x509::X509;
use sqs_to_postgres::config::SslMode;
use sqs_to_postgres::database::{Database, is_loopback};

use super::report::Report;

/// A certificate that expires sooner gets a warning.
const DAYS_AHEAD: i32 = 30;

const FIX: &str = "set DB_SSLMODE, or sslmode in the URL, to verify-full";

pub(super) async fn check(database: &mut Database, host: &str, report: &mut Report) {
    let Some(mode) = report.value("tls", database.ssl_mode().await) else {
        return;
    };
    if mode == SslMode::Disable {
        return off(host, report);
    }
    let shown = match report.value("tls", database.certificate().await) {
        Some(Some(shown)) => shown,
        Some(None) => return off(host, report),
        None => return,
    };
    let has_authority = database.tls_settings().authorities.file().is_some();
    let verifies_host = mode == SslMode::VerifyFull;
    let verifies_authority =
        verifies_host || mode == SslMode::VerifyCa || mode == SslMode::Require && has_authority;
    let Ok((days, until)) = days_left(&shown) else {
        let text = "the expiry date of its certificate cannot be read";
        let fix = "inspect it with openssl s_client -starttls postgres";
        return report.warning("tls", text, fix);
    };
    if !verifies_authority {
        let expires = if days < 0 { "expired" } else { "expires" };
        let text = format!(
            "on, but the server is not verified: an impostor can ask for the password in plaintext; its certificate {expires} on {until}"
        );
        report.warning("tls", text, FIX);
    } else if days < DAYS_AHEAD {
        let text = format!("its certificate expires in {days} days, on {until}");
        report.warning("tls", text, "renew it on the server");
    } else if verifies_host {
        let text = format!("server and authority verified; certificate valid until {until}");
        report.ok("tls", text);
    } else if is_loopback(host) {
        let text =
            format!("authority verified, but not the host name; certificate valid until {until}");
        report.ok("tls", text);
    } else {
        let text = format!(
            "authority verified, but not the host name: any server with a certificate of that authority can impersonate it; certificate valid until {until}"
        );
        report.warning("tls", text, FIX);
    }
}

/// Without TLS only a connection that does not leave this machine is safe.
fn off(host: &str, report: &mut Report) {
    if is_loopback(host) {
        report.ok("tls", "off, and the connection does not leave this machine")
    } else {
        report.warning(
            "tls",
            "off: rows and password can be read on the network",
            FIX,
        )
    }
}

/// The whole days until a certificate in DER expires, and its expiry date.
fn days_left(certificate: &[u8]) -> Result<(i32, String), ErrorStack> {
    let certificate = X509::from_der(certificate)?;
    let left = Asn1Time::days_from_now(0)?.diff(certificate.not_after())?;
    // A difference of less than a day has no days, whatever its sign.
    let days = if left.secs < 0 {
        left.days.min(-1)
    } else {
        left.days
    };
    Ok((days, certificate.not_after().to_string()))
}
