use super::*;

fn found(config: &MtlsConfig, spiffe: &SpiffeConfig) -> Vec<String> {
    let mut findings = Findings::new();
    config.check(&mut findings);
    config.check_mesh(spiffe, &mut findings);
    let found = findings.found().iter();
    found.map(|finding| finding.path.clone()).collect()
}

#[test]
fn every_mistake_is_found() {
    let config = MtlsConfig {
        trust_domains: Some(vec!["td".into(), "a b".into()]),
        dns_names: vec!["*".into(), "a.example:80".into(), "*.example".into()],
        subjects: vec!["pump".into(), "CN=pump".into()],
    };
    let spiffe = SpiffeConfig::default();
    assert_eq!(
        found(&config, &spiffe),
        [
            "trustDomains[1]",
            "dnsNames[0]",
            "dnsNames[1]",
            "subjects[0]"
        ]
    );
    let none = MtlsConfig {
        trust_domains: Some(Vec::new()),
        ..MtlsConfig::default()
    };
    assert_eq!(found(&none, &spiffe), ["trustDomains"]);
    assert_eq!(found(&MtlsConfig::default(), &spiffe), ["trustDomains"]);
    let mesh = SpiffeConfig {
        trust_domain: Some("td".into()),
        ..SpiffeConfig::default()
    };
    assert!(found(&MtlsConfig::default(), &mesh).is_empty());
}
