"""Identity providers, and tags of all that can have them."""

from __future__ import annotations

from typing import Any

import pytest
from iam_calls import READ, refused, trust

METADATA = (
    '<EntityDescriptor xmlns="urn:oasis:names:tc:SAML:2.0:metadata" entityID="https://idp.example.com"%s>'
    '<IDPSSODescriptor protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol"/>' + " " * 1000 + "</EntityDescriptor>"
)
URL = "https://token.actions.githubusercontent.com"


def test_an_openid_connect_provider_is_known_by_its_url(iam: Any, account: str) -> None:
    made = iam.create_open_id_connect_provider(Url=URL + "/path", ClientIDList=["one"], ThumbprintList=["a" * 40])
    arn = made["OpenIDConnectProviderArn"]
    assert arn == f"arn:aws:iam::{account}:oidc-provider/token.actions.githubusercontent.com/path"
    again = f"Provider with url {URL}/path already exists."
    refused(iam.create_open_id_connect_provider, "EntityAlreadyExists", again, Url=URL + "/path")
    for client in ("two", "two", "one"):
        iam.add_client_id_to_open_id_connect_provider(OpenIDConnectProviderArn=arn, ClientID=client)
    iam.remove_client_id_from_open_id_connect_provider(OpenIDConnectProviderArn=arn, ClientID="one")
    iam.remove_client_id_from_open_id_connect_provider(OpenIDConnectProviderArn=arn, ClientID="one")
    iam.update_open_id_connect_provider_thumbprint(OpenIDConnectProviderArn=arn, ThumbprintList=["b" * 40])
    provider = iam.get_open_id_connect_provider(OpenIDConnectProviderArn=arn)
    assert (provider["Url"], provider["ClientIDList"], provider["ThumbprintList"]) == (
        "token.actions.githubusercontent.com/path", ["two"], ["b" * 40],
    )  # fmt: skip
    assert [one["Arn"] for one in iam.list_open_id_connect_providers()["OpenIDConnectProviderList"]] == [arn]
    iam.delete_open_id_connect_provider(OpenIDConnectProviderArn=arn)
    sentence = f"OpenId connect Provider {arn} cannot be found."
    refused(iam.delete_open_id_connect_provider, "NoSuchEntity", sentence, OpenIDConnectProviderArn=arn)
    sentence = f"OpenIDConnect Provider not found for arn {arn}"
    refused(iam.get_open_id_connect_provider, "NoSuchEntity", sentence, OpenIDConnectProviderArn=arn)


def test_an_openid_connect_provider_has_its_limits(iam: Any) -> None:
    create = iam.create_open_id_connect_provider
    for url in ("http://idp.example.com", "idp.example.com", "https://", "https://idp.example.com?x=y", "https://[idp"):
        refused(create, "ValidationError", "Invalid Open ID Connect Provider URL", Url=url)
    sentence = "Thumbprint list must contain fewer than 5 entries."
    refused(create, "InvalidInput", sentence, Url=URL, ThumbprintList=["a" * 40] * 6)
    sentence = "Cannot exceed quota for ClientIdsPerOpenIdConnectProvider: 100"
    refused(create, "LimitExceeded", sentence, Url=URL, ClientIDList=[f"c{number}" for number in range(101)])


def test_a_saml_provider_is_known_by_its_metadata(iam: Any, account: str) -> None:
    arn = iam.create_saml_provider(Name="Idp", SAMLMetadataDocument=METADATA % "")["SAMLProviderArn"]
    assert arn == f"arn:aws:iam::{account}:saml-provider/Idp"
    refused(iam.create_saml_provider, "EntityAlreadyExists", Name="idp", SAMLMetadataDocument=METADATA % "")
    limited = METADATA % ' validUntil="2040-01-02T03:04:05Z"'
    iam.update_saml_provider(SAMLProviderArn=arn, SAMLMetadataDocument=limited)
    provider = iam.get_saml_provider(SAMLProviderArn=arn)
    assert (provider["SAMLMetadataDocument"], provider["ValidUntil"].isoformat()[:19]) == (limited, "2040-01-02T03:04:05")
    assert (provider["AssertionEncryptionMode"], provider["PrivateKeyList"]) == ("Allowed", [])
    assert [one["Arn"] for one in iam.list_saml_providers()["SAMLProviderList"]] == [arn]
    iam.delete_saml_provider(SAMLProviderArn=arn)
    for call in (iam.get_saml_provider, iam.delete_saml_provider, iam.update_saml_provider):
        refused(call, "NoSuchEntity", f"Manifest not found for arn {arn}", SAMLProviderArn=arn)


@pytest.mark.parametrize(
    "metadata",
    [
        "x" * 1000,
        "<a/>" + " " * 1000,
        (METADATA % "").replace("IDPSSO", "SPSSO"),
        '<!DOCTYPE a [<!ENTITY b "c">]>' + METADATA % "",
        METADATA % ' validUntil="soon"',
    ],
)
def test_what_is_no_metadata_is_refused(iam: Any, metadata: str) -> None:
    refused(iam.create_saml_provider, "InvalidInput", "Could not parse metadata", Name="idp", SAMLMetadataDocument=metadata)


# ---- tags


def bearers(iam: Any) -> dict[str, tuple[str, dict[str, str]]]:
    """One of each that can have tags: how its operations are called, and what names it."""
    iam.create_user(UserName="one")
    iam.create_role(RoleName="one", AssumeRolePolicyDocument=trust())
    iam.create_instance_profile(InstanceProfileName="one")
    policy = iam.create_policy(PolicyName="one", PolicyDocument=READ)["Policy"]["Arn"]
    device = iam.create_virtual_mfa_device(VirtualMFADeviceName="one")["VirtualMFADevice"]["SerialNumber"]
    oidc = iam.create_open_id_connect_provider(Url=URL)["OpenIDConnectProviderArn"]
    saml = iam.create_saml_provider(Name="one", SAMLMetadataDocument=METADATA % "")["SAMLProviderArn"]
    return {
        "user": ("user", {"UserName": "one"}),
        "role": ("role", {"RoleName": "one"}),
        "instance profile": ("instance_profile", {"InstanceProfileName": "one"}),
        "policy": ("policy", {"PolicyArn": policy}),
        "MFA device": ("mfa_device", {"SerialNumber": device}),
        "OpenID Connect provider": ("open_id_connect_provider", {"OpenIDConnectProviderArn": oidc}),
        "SAML provider": ("saml_provider", {"SAMLProviderArn": saml}),
    }


def test_everything_that_can_have_tags_has_them(iam: Any) -> None:
    for kind, (name, which) in bearers(iam).items():
        tag, untag, listed = (getattr(iam, call) for call in (f"tag_{name}", f"untag_{name}", f"list_{name}_tags"))
        tag(**which, Tags=[{"Key": f"k{number:02d}", "Value": "v"} for number in range(50)])
        tag(**which, Tags=[{"Key": "k00", "Value": "w"}])
        sentence = "The number of tags has reached the maximum limit."
        refused(tag, "LimitExceeded", sentence, **which, Tags=[{"Key": "k50", "Value": "v"}])
        refused(tag, "InvalidInput", **which, Tags=[{"Key": "aws:x", "Value": "v"}])
        untag(**which, TagKeys=[f"k{number:02d}" for number in range(3, 50)])
        assert listed(**which)["Tags"] == [{"Key": "k00", "Value": "w"}, {"Key": "k01", "Value": "v"}, {"Key": "k02", "Value": "v"}], kind
        first = listed(**which, MaxItems=2)
        assert first["IsTruncated"]
        assert listed(**which, MaxItems=2, Marker=first["Marker"])["Tags"] == [{"Key": "k02", "Value": "v"}]


def test_the_case_of_a_tags_key_matters_but_for_users_and_roles(iam: Any) -> None:
    twice = [{"Key": "team", "Value": "a"}, {"Key": "Team", "Value": "b"}]
    iam.create_user(UserName="alice")
    sentence = "Duplicate tag keys found. Please note that Tag keys are case insensitive."
    refused(iam.tag_user, "InvalidInput", sentence, UserName="alice", Tags=twice)
    for one in twice:
        iam.tag_user(UserName="alice", Tags=[one])
    assert iam.list_user_tags(UserName="alice")["Tags"] == [{"Key": "Team", "Value": "b"}]
    arn = iam.create_policy(PolicyName="policy", PolicyDocument=READ, Tags=twice)["Policy"]["Arn"]
    assert len(iam.list_policy_tags(PolicyArn=arn)["Tags"]) == 2
    refused(iam.tag_policy, "InvalidInput", "Duplicate tag keys found.", PolicyArn=arn, Tags=[twice[0]] * 2)
