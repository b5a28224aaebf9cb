//! Every code that a diagnostic may carry: one row each. `leno explain LN0102` and the documentation are made
//! from this table, so a code is never reused and never changes its meaning.
//!
//! LN01xx: reading text. LN02xx: one object by itself. LN03xx: the mesh as a whole. LN04xx: where it comes from.

use std::fmt;

macro_rules! codes {
    ($($name:ident = $code:literal, $title:literal, $explanation:literal;)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Code { $(#[doc = $explanation] $name,)* }

        impl Code {
            pub const ALL: &'static [Code] = &[$(Code::$name,)*];

            /// `LN0102`
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$name => $code,)* }
            }

            pub fn title(self) -> &'static str {
                match self { $(Code::$name => $title,)* }
            }

            pub fn explanation(self) -> &'static str {
                match self { $(Code::$name => $explanation,)* }
            }
        }
    };
}

codes! {
    Syntax = "LN0101", "not valid YAML or JSON", "The text does not follow the syntax of YAML 1.2 (of which JSON is a part). The other documents of the file are read all the same.";
    UnknownField = "LN0102", "unknown field", "The kind has no such field. A misspelt field would otherwise be ignored without a word, and with it what it was meant to do.";
    WrongValue = "LN0103", "wrong type or value", "The field exists, but not with a value of this type, or the value is not one of those allowed.";
    MissingField = "LN0104", "missing field", "The kind requires this field.";
    TooLarge = "LN0105", "too large or too deep", "The file, the nesting, or what its aliases expand to is over the limit that protects the control plane.";
    UnknownKind = "LN0106", "unknown kind, skipped", "Neither leno nor Kubernetes has this kind under this apiVersion. The object is skipped.";
    NotServed = "LN0107", "not served yet", "Istio or the Gateway API has this, leno does not have it yet. It is refused by name rather than accepted without effect.";
    Ignored = "LN0108", "without effect here", "The setting is known and harmless, and has no effect in leno.";
    SkippedKind = "LN0109", "Kubernetes kind skipped", "A Kubernetes object that says nothing to the mesh; `leno run` starts the processes.";
    DuplicateKey = "LN0110", "key given twice", "A mapping has the same key twice, so one of the values would be lost.";
    NotText = "LN0111", "not UTF-8", "Configuration is UTF-8 text.";
    NotAnObject = "LN0112", "not an object", "A document is a mapping with apiVersion, kind and metadata.";
    BadName = "LN0113", "bad object name", "An object's name and namespace are DNS names in lower case.";

    OutOfRange = "LN0201", "out of range", "The number is outside of what the field allows.";
    BadHost = "LN0202", "not a DNS name", "Hosts are DNS names: labels of at most 63 letters, digits and dashes, joined by dots.";
    BadRegex = "LN0203", "regular expression refused", "The expression does not compile, or compiles to more than the limit. The syntax is RE2's: no look-around, no back-references.";
    BadDuration = "LN0204", "duration refused", "Durations are such as 250ms, 5s or 1m30s, and must be positive here.";
    BadWeights = "LN0205", "weights refused", "Weights are not negative and at least one of several is above zero.";
    DuplicateName = "LN0206", "name given twice", "The names of a list must differ.";
    BadHeader = "LN0207", "header refused", "A header name is an HTTP token; a value has no line breaks or control characters; Host and pseudo-headers are rewritten with the fields meant for that.";
    OneOf = "LN0208", "exactly one of several", "Exactly one of these fields may be set.";
    Empty = "LN0209", "must not be empty", "The list or text needs at least one element.";
    BadCombination = "LN0210", "fields that exclude each other", "These fields cannot be used together.";
    BadPath = "LN0211", "path refused", "A path begins with a slash and has neither empty nor dot segments, fragments or encoded slashes.";
    NoEffect = "LN0212", "has no effect", "What is written is allowed but does nothing.";
    BadAccessLogFormat = "LN0213", "no such command operator", "An access-log format may only name command operators that the proxies can answer; a proxy would refuse the whole listener otherwise.";
    BadAddress = "LN0220", "not an address", "An IP address, or a range of them such as 10.1.0.0/16.";
    BadTemplate = "LN0221", "path template refused", "In a path of an AuthorizationPolicy {*} stands for one segment and {**} for any number; nothing but text may come behind {**}, and no star stands without braces.";
    BadConditionKey = "LN0222", "no such condition", "The keys of an AuthorizationPolicy's conditions are Istio's: source.ip, request.headers[NAME] and so on. A key that nobody knows would never match, and a DENY would let through.";
    FormerName = "LN0240", "a filter's former name", "Envoy has given this name of a filter up for another one. leno takes it for the new one; a stock Envoy may not.";
    BadExpression = "LN0241", "expression refused", "The expression is not in the Common Expression Language (CEL), as far as proxies evaluate it.";
    BadPatch = "LN0242", "not a message of Envoy's", "The value of an EnvoyFilter's patch is a message of Envoy's API, by what it is applied to. A field or a type that Envoy's API does not have would be rejected by every proxy that gets it, and with it what it is in.";
    DeniesAllTcp = "LN0223", "denies everything on TCP", "What a connection without HTTP cannot show is left out of a DENY rule, so that it denies more, not less. With nothing left it denies every connection to ports of TCP.";

    Deprecated = "LN0230", "old form", "The field has been replaced by another, which says the same or more. It is served all the same.";

    HostNotFound = "LN0301", "host not found", "No service of this name is in the mesh. Its share of the requests is answered with an error until it appears.";
    SubsetNotFound = "LN0302", "subset not found", "No DestinationRule of the host declares this subset. Its share of the requests is answered with an error until one does.";
    RouteConflict = "LN0303", "two VirtualServices for one host", "In the mesh VirtualServices of one host are not merged: of those that a namespace sees one holds there (docs/precedence.md says which), and the others are without effect for this host.";
    DialectConflict = "LN0304", "HTTPRoute and VirtualService for one host", "The HTTPRoute holds; the VirtualService is without effect for this host.";
    DuplicateObject = "LN0305", "object given twice", "The same kind, namespace and name in two places: the first by file name holds.";
    PolicyConflict = "LN0306", "two policies for one target", "The first by name holds.";
    ParentNotFound = "LN0307", "parent not found", "The Service that the route attaches to does not exist, so the route is without effect until it does.";
    PortNotFound = "LN0308", "port not declared", "The service has no such port.";
    NoReferenceGrant = "LN0309", "cross-namespace reference not granted", "A backend in another namespace needs a ReferenceGrant there. Its share of the requests is answered with 500.";
    AddressesExhausted = "LN0310", "no virtual address left", "All addresses of 240.240.0.0/16 are in use or were released less than a day ago.";
    NotSelected = "LN0311", "workload not selected by its service", "A workload says that it belongs to a service whose selector does not match its labels.";
    HostConflict = "LN0312", "host declared twice", "A Service and a ServiceEntry, or two ServiceEntries, declare the same host: the Service, else the first by name, holds.";
    GatewayNotFound = "LN0320", "gateway not found", "There is no Gateway of this name, or none of its listeners that the route may attach to: it is without effect there until there is.";
    SecretNotFound = "LN0321", "no certificate for a gateway", "The Secret that a Gateway names is not there, holds no certificate and key, or is in another namespace without a ReferenceGrant. The port stays closed for these hosts until it is; the Gateway's other ports are served.";
    RouteNotAllowed = "LN0322", "route not allowed by the gateway", "The Gateway's listener does not allow routes of this kind or namespace, or they have no hostname in common.";
    PortConflict = "LN0323", "two servers for one port and host", "Two Gateways for the same proxies use one port for different protocols, or one port and host name with TLS: the first by name holds.";
    ClassNotServed = "LN0324", "gateway class not served", "The Gateway's class is none of leno's: istio, leno, or a GatewayClass whose controllerName is istio.io/gateway-controller.";
    OtherSpellings = "LN0329", "a path may be spelled otherwise", "A policy denies by path, and the mesh's pathNormalization leaves spellings of it that the rule does not mean and that many servers take for the same: //, %2F, dot segments. Who knows one of them comes past the policy. What is safe with any server is to allow the paths that are wanted.";
    ProviderNotFound = "LN0330", "no such authorizer", "A policy with action CUSTOM names a provider that the mesh does not have. As in Istio the requests that its rules match are denied.";
    KeysNotFetched = "LN0331", "an issuer's keys cannot be fetched", "The server of an issuer's keys does not answer, or answers what is no JSON Web Key Set. The keys that were fetched last hold, also through restarts; without any no token of the issuer is taken.";

    RuleShadowed = "LN0340", "rule never reached", "An earlier rule of the VirtualService takes everything that this one matches. Rules are tried in the order in which they are written.";
    MatchShadowed = "LN0341", "match without effect", "Another rule takes what this match means: an earlier one of the VirtualService, or one of an HTTPRoute that matches the same for the same parent and host.";
    PortWithoutProtocol = "LN0342", "port without a protocol", "Neither appProtocol nor the beginning of the port's name says what is spoken. It is detected for each connection, and what is for HTTP alone (routes by path, methods in policies) holds only where that is detected.";
    PortNotChosen = "LN0343", "none of several ports chosen", "The destination's service has several ports, and the route does not say which. The port that the client called is taken, if the service has it.";
    MtlsConflict = "LN0344", "called otherwise than it accepts", "A DestinationRule has a service called in plaintext whose PeerAuthentication accepts mTLS alone, or the other way round. Every call fails.";
    PortsDisagree = "LN0345", "two services disagree about a port", "Two services select the same workloads and say different protocols of the same port. The workloads' proxies can follow one of them.";
    SubsetNotUsed = "LN0346", "subset not used", "No route goes to the subset.";
    GatewayWithoutRoutes = "LN0347", "gateway without routes", "No route names the Gateway. Its ports are open and answer every request with 404.";
    CertificateShared = "LN0348", "one certificate in two gateways", "Clients of HTTP/2 use one connection for all hosts of a certificate, and a connection knows the routes of the Gateway that it was made to. Hosts of the other are answered with 404.";
    Outdated = "LN0349", "old name", "Istio keeps the field or value for those who have it already; it has another name now.";
    NothingSelected = "LN0350", "nothing selected", "No workload that is in the mesh has the labels of the selector.";
    AddressesNeeded = "LN0351", "any address is taken for it", "A ServiceEntry without addresses and with resolution NONE has a port of TCP: what a connection carries does not say whom it is for, so that every connection to this port is taken for one to it.";
    ClaimsNotVerified = "LN0352", "claims that nobody verifies", "A route is chosen by a claim of a token, and no RequestAuthentication verifies tokens: it is never chosen.";
    DelegateNotFound = "LN0353", "no such delegate", "The VirtualService that a rule delegates to does not exist, has hosts of its own, or is not exported to the rule's namespace. As in Istio the rule is left out until there is one.";
    DelegateConflict = "LN0354", "delegate's rule never holds", "What a rule and the one it delegates to match exclude each other, or cannot be combined. As in Istio the delegate's rule is left out.";

    DirectoryUnreadable = "LN0401", "directory cannot be read", "The configuration directory is missing or cannot be read.";
    FileUnreadable = "LN0402", "file cannot be read", "The file's last good objects stay in force.";
    FileEmpty = "LN0403", "file became empty", "An empty file is taken for one being written: its last good objects stay in force. Remove the file to remove them.";
    LastGoodKept = "LN0404", "last good version kept", "The object, or the file's document, is broken now; what was read before it broke stays in force.";
    WatchLost = "LN0405", "changes not announced", "The system does not announce changes of files; the directory is read again in intervals.";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::Code;
    use std::collections::BTreeSet;

    #[test]
    fn no_code_is_given_twice() {
        let codes: BTreeSet<_> = Code::ALL.iter().map(|c| c.as_str()).collect();
        assert_eq!(codes.len(), Code::ALL.len());
    }
}
