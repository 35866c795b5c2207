"""What users show who they are by: access keys, passwords, MFA devices, SSH keys, certificates."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from iam_calls import refused

from cloudstead.services.iam import totp
from support import CloudThread


@pytest.fixture
def alice(cloud: CloudThread, iam: Any) -> Any:
    """A client of a user called alice."""
    iam.create_user(UserName="alice")
    key = iam.create_access_key(UserName="alice")["AccessKey"]
    return cloud.client("iam", key=key["AccessKeyId"], secret=key["SecretAccessKey"])


# ---- access keys


def test_a_user_has_two_keys_at_most(iam: Any) -> None:
    iam.create_user(UserName="alice")
    keys = [iam.create_access_key(UserName="alice")["AccessKey"] for _ in range(2)]
    assert len({key["SecretAccessKey"] for key in keys}) == 2
    refused(iam.create_access_key, "LimitExceeded", "Cannot exceed quota for AccessKeysPerUser: 2", UserName="alice")
    listed = iam.list_access_keys(UserName="alice")["AccessKeyMetadata"]
    assert [(one["AccessKeyId"], one["Status"], one["UserName"]) for one in listed] == [
        (key["AccessKeyId"], "Active", "alice") for key in keys
    ]
    assert "SecretAccessKey" not in listed[0]


def test_a_key_that_is_switched_off_signs_nothing(cloud: CloudThread, iam: Any, alice: Any) -> None:
    key_id = iam.list_access_keys(UserName="alice")["AccessKeyMetadata"][0]["AccessKeyId"]
    alice.get_user()
    iam.update_access_key(UserName="alice", AccessKeyId=key_id, Status="Inactive")
    refused(alice.get_user, "InvalidClientTokenId")
    iam.update_access_key(UserName="alice", AccessKeyId=key_id, Status="Active")
    alice.get_user()


def test_a_key_is_its_users_alone(iam: Any) -> None:
    for name in ("alice", "bob"):
        iam.create_user(UserName=name)
    key_id = iam.create_access_key(UserName="alice")["AccessKey"]["AccessKeyId"]
    sentence = f"The Access Key with id {key_id} cannot be found."
    refused(iam.delete_access_key, "NoSuchEntity", sentence, UserName="bob", AccessKeyId=key_id)
    refused(iam.update_access_key, "NoSuchEntity", sentence, UserName="bob", AccessKeyId=key_id, Status="Inactive")
    refused(iam.delete_access_key, "NoSuchEntity", sentence, AccessKeyId=key_id)  # root's own


def test_a_key_tells_its_last_use_until_it_is_deleted(iam: Any, alice: Any) -> None:
    key_id = iam.list_access_keys(UserName="alice")["AccessKeyMetadata"][0]["AccessKeyId"]
    unused = iam.get_access_key_last_used(AccessKeyId=key_id)
    assert (unused["UserName"], unused["AccessKeyLastUsed"]) == ("alice", {"ServiceName": "N/A", "Region": "N/A"})
    before = datetime.now(UTC) - timedelta(seconds=1)
    alice.list_users()
    used = iam.get_access_key_last_used(AccessKeyId=key_id)["AccessKeyLastUsed"]
    assert (used["ServiceName"], used["Region"]) == ("iam", "us-east-1")
    assert used["LastUsedDate"] > before
    alice.delete_access_key(AccessKeyId=key_id)
    refused(iam.get_access_key_last_used, "NoSuchEntity", AccessKeyId=key_id)


def test_roots_keys_bear_no_user_name(iam: Any) -> None:
    key = iam.create_access_key()["AccessKey"]
    assert "UserName" not in key
    assert [one["AccessKeyId"] for one in iam.list_access_keys()["AccessKeyMetadata"]] == [key["AccessKeyId"]]
    iam.delete_access_key(AccessKeyId=key["AccessKeyId"])


# ---- passwords


def test_a_password_is_made_changed_and_forgotten(iam: Any, alice: Any) -> None:
    sentence = "Login Profile for User alice cannot be found."
    for call in (iam.get_login_profile, iam.delete_login_profile, iam.update_login_profile):
        refused(call, "NoSuchEntity", sentence, UserName="alice")
    profile = iam.create_login_profile(UserName="alice", Password="Correct-Horse-1", PasswordResetRequired=True)["LoginProfile"]
    assert profile["PasswordResetRequired"] is True
    again = "Login Profile for user alice already exists."
    refused(iam.create_login_profile, "EntityAlreadyExists", again, UserName="alice", Password="Correct-Horse-1")
    refused(alice.change_password, "AccessDenied", OldPassword="wrong", NewPassword="Correct-Horse-2")
    alice.change_password(OldPassword="Correct-Horse-1", NewPassword="Correct-Horse-2")
    assert iam.get_login_profile(UserName="alice")["LoginProfile"]["PasswordResetRequired"] is False
    refused(alice.change_password, "AccessDenied", OldPassword="Correct-Horse-1", NewPassword="Correct-Horse-3")
    iam.update_login_profile(UserName="alice", Password="Correct-Horse-4")
    alice.change_password(OldPassword="Correct-Horse-4", NewPassword="Correct-Horse-5")
    refused(iam.change_password, "InvalidUserType", OldPassword="Correct-Horse-5", NewPassword="Correct-Horse-6")
    iam.delete_login_profile(UserName="alice")
    refused(iam.get_login_profile, "NoSuchEntity", sentence, UserName="alice")


def test_no_password_is_kept_in_the_clear(cloud: CloudThread, iam: Any) -> None:
    iam.create_user(UserName="alice")
    iam.create_login_profile(UserName="alice", Password="Correct-Horse-Battery-1")
    cloud.do(cloud.running.cloud.store.settled)
    kept = b"".join(path.read_bytes() for path in cloud.running.cloud.data.glob("state.db*"))
    assert b"Correct-Horse-Battery-1" not in kept
    assert b"alice" in kept


@pytest.mark.parametrize("password", ["Short-1", "onlysmallletters", "small-and-signs-only!"])
def test_without_a_policy_awss_own_holds(iam: Any, password: str) -> None:
    iam.create_user(UserName="alice")
    refused(iam.create_login_profile, "PasswordPolicyViolation", UserName="alice", Password=password)


def test_the_accounts_password_policy_holds(iam: Any, alice: Any) -> None:
    iam.update_account_password_policy(
        MinimumPasswordLength=10,
        RequireUppercaseCharacters=True,
        RequireLowercaseCharacters=True,
        RequireNumbers=True,
        RequireSymbols=True,
        PasswordReusePrevention=2,
    )
    for password, sentence in (
        ("Aa1!", "Password should have a minimum length of 10"),
        ("aaaaaaaa1!", "Password should have at least one uppercase letter"),
        ("AAAAAAAA1!", "Password should have at least one lowercase letter"),
        ("AAAAaaaaa!", "Password should have at least one number"),
        ("AAAAaaaa11", "Password should have at least one symbol"),
    ):
        refused(iam.create_login_profile, "PasswordPolicyViolation", sentence, UserName="alice", Password=password)
    iam.create_login_profile(UserName="alice", Password="Password-1")
    alice.change_password(OldPassword="Password-1", NewPassword="Password-2")
    refused(alice.change_password, "PasswordPolicyViolation", OldPassword="Password-2", NewPassword="Password-1")
    alice.change_password(OldPassword="Password-2", NewPassword="Password-3")
    alice.change_password(OldPassword="Password-3", NewPassword="Password-1")  # two others came between


# ---- MFA devices


def codes(seed: str, shift: int = 0) -> dict[str, str]:
    """Two consecutive codes, the second of now."""
    step = totp.step_of(time.time()) + shift
    return {"AuthenticationCode1": totp.code(seed, step - 1), "AuthenticationCode2": totp.code(seed, step)}


@pytest.mark.parametrize(("seconds", "code"), [(59, "287082"), (1111111109, "081804"), (1234567890, "005924"), (20000000000, "353130")])
def test_codes_are_those_of_rfc_6238(seconds: int, code: str) -> None:
    assert totp.code("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ", totp.step_of(seconds)) == code


def test_a_device_becomes_a_users_by_two_codes(iam: Any, alice: Any, account: str) -> None:
    made = iam.create_virtual_mfa_device(VirtualMFADeviceName="phone", Path="/p/")["VirtualMFADevice"]
    serial, seed = made["SerialNumber"], made["Base32StringSeed"].decode()
    assert serial == f"arn:aws:iam::{account}:mfa/p/phone"
    assert made["QRCodePNG"].startswith(b"\x89PNG")
    refused(iam.create_virtual_mfa_device, "EntityAlreadyExists", "MFA device already exists.", VirtualMFADeviceName="phone", Path="/p/")
    sentence = "Authentication code for device is not valid."
    enable = iam.enable_mfa_device
    wrong = {"AuthenticationCode1": "000000", "AuthenticationCode2": "000000"}
    refused(enable, "InvalidAuthenticationCode", sentence, UserName="alice", SerialNumber=serial, **wrong)
    refused(enable, "InvalidAuthenticationCode", sentence, UserName="alice", SerialNumber=serial, **codes(seed, 20))
    assert iam.list_virtual_mfa_devices(AssignmentStatus="Assigned")["VirtualMFADevices"] == []
    enable(UserName="alice", SerialNumber=serial, **codes(seed))
    refused(enable, "EntityAlreadyExists", "MFA Device is already in use.", UserName="alice", SerialNumber=serial, **codes(seed))
    assert [one["SerialNumber"] for one in alice.list_mfa_devices()["MFADevices"]] == [serial]
    assigned = iam.list_virtual_mfa_devices(AssignmentStatus="Assigned")["VirtualMFADevices"]
    assert [one["User"]["UserName"] for one in assigned] == ["alice"]
    assert "Base32StringSeed" not in assigned[0]
    assert iam.list_virtual_mfa_devices(AssignmentStatus="Unassigned")["VirtualMFADevices"] == []
    assert iam.get_mfa_device(SerialNumber=serial)["UserName"] == "alice"


def test_a_device_in_use_keeps_itself_and_its_user(iam: Any, alice: Any) -> None:
    made = iam.create_virtual_mfa_device(VirtualMFADeviceName="phone")["VirtualMFADevice"]
    serial, seed = made["SerialNumber"], made["Base32StringSeed"].decode()
    iam.enable_mfa_device(UserName="alice", SerialNumber=serial, **codes(seed))
    refused(iam.delete_virtual_mfa_device, "DeleteConflict", "MFA VirtualDevice in use. Must deactivate first.", SerialNumber=serial)
    alice.delete_access_key(AccessKeyId=alice.list_access_keys()["AccessKeyMetadata"][0]["AccessKeyId"])
    refused(iam.delete_user, "DeleteConflict", "Cannot delete entity, must delete MFA device first.", UserName="alice")
    iam.update_user(UserName="alice", NewUserName="ally")
    iam.resync_mfa_device(UserName="ally", SerialNumber=serial, **codes(seed, 50))
    iam.deactivate_mfa_device(UserName="ally", SerialNumber=serial)
    gone = f"MFA Device with serial number {serial} does not exist."
    refused(iam.deactivate_mfa_device, "NoSuchEntity", gone, UserName="ally", SerialNumber=serial)
    iam.delete_virtual_mfa_device(SerialNumber=serial)
    refused(iam.delete_virtual_mfa_device, "NoSuchEntity", gone, SerialNumber=serial)
    iam.delete_user(UserName="ally")


def test_devices_are_listed_page_by_page(iam: Any) -> None:
    for number in range(5):
        iam.create_virtual_mfa_device(VirtualMFADeviceName=f"device{number}", Path=f"/{'x' * 150}/")
    pages = list(iam.get_paginator("list_virtual_mfa_devices").paginate(PaginationConfig={"PageSize": 2}))
    assert [len(page["VirtualMFADevices"]) for page in pages] == [2, 2, 1]
    assert len({one["SerialNumber"] for page in pages for one in page["VirtualMFADevices"]}) == 5


# ---- SSH keys and certificates


def ssh_key(bits: int = 2048) -> tuple[str, str]:
    """A public key in the forms of OpenSSH and PEM."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=bits).public_key()
    pem = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    ssh = key.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return ssh.decode(), pem.decode()


def certificate(name: str = "example.com") -> tuple[str, str]:
    """A self-signed certificate and its private key, in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(datetime(2025, 1, 1, tzinfo=UTC)).not_valid_after(datetime(2035, 1, 1, tzinfo=UTC))
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode(), private.decode()


def test_ssh_keys_are_kept_in_both_forms(iam: Any) -> None:
    iam.create_user(UserName="alice")
    ssh, pem = ssh_key()
    made = iam.upload_ssh_public_key(UserName="alice", SSHPublicKeyBody=f"{ssh} alice@laptop")["SSHPublicKey"]
    assert made["SSHPublicKeyId"].startswith("APKA")
    assert made["Fingerprint"].count(":") == 15
    who = {"UserName": "alice", "SSHPublicKeyId": made["SSHPublicKeyId"]}
    assert iam.get_ssh_public_key(**who, Encoding="SSH")["SSHPublicKey"]["SSHPublicKeyBody"] == ssh
    assert iam.get_ssh_public_key(**who, Encoding="PEM")["SSHPublicKey"]["SSHPublicKeyBody"] == pem
    refused(iam.upload_ssh_public_key, "DuplicateSSHPublicKey", UserName="alice", SSHPublicKeyBody=pem)
    refused(iam.upload_ssh_public_key, "InvalidPublicKey", UserName="alice", SSHPublicKeyBody="ssh-rsa AAAA")
    refused(iam.upload_ssh_public_key, "InvalidPublicKey", UserName="alice", SSHPublicKeyBody=ssh_key(1024)[0])
    refused(iam.upload_ssh_public_key, "UnrecognizedPublicKeyEncoding", UserName="alice", SSHPublicKeyBody="hello")
    iam.update_ssh_public_key(**who, Status="Inactive")
    assert [one["Status"] for one in iam.list_ssh_public_keys(UserName="alice")["SSHPublicKeys"]] == ["Inactive"]
    refused(iam.delete_user, "DeleteConflict", "Cannot delete entity, must remove referenced objects first.", UserName="alice")
    iam.delete_ssh_public_key(**who)
    sentence = f"The Public Key with id {made['SSHPublicKeyId']} cannot be found."
    refused(iam.delete_ssh_public_key, "NoSuchEntity", sentence, **who)


def test_a_user_has_two_signing_certificates_at_most(iam: Any) -> None:
    iam.create_user(UserName="alice")
    upload = iam.upload_signing_certificate
    refused(upload, "MalformedCertificate", "Certificate no is malformed.", UserName="alice", CertificateBody="no")
    made = [upload(UserName="alice", CertificateBody=certificate()[0])["Certificate"] for _ in range(2)]
    sentence = "Cannot exceed quota for CertificatesPerUser: 2"
    refused(upload, "LimitExceeded", sentence, UserName="alice", CertificateBody=certificate()[0])
    refused(upload, "DuplicateCertificate", UserName="alice", CertificateBody=made[0]["CertificateBody"])
    iam.update_signing_certificate(UserName="alice", CertificateId=made[0]["CertificateId"], Status="Inactive")
    listed = iam.list_signing_certificates(UserName="alice")["Certificates"]
    assert {one["CertificateId"]: one["Status"] for one in listed} == {
        made[0]["CertificateId"]: "Inactive",
        made[1]["CertificateId"]: "Active",
    }
    for one in made:
        iam.delete_signing_certificate(UserName="alice", CertificateId=one["CertificateId"])
    sentence = f"The Certificate with id {made[0]['CertificateId']} cannot be found."
    refused(iam.delete_signing_certificate, "NoSuchEntity", sentence, UserName="alice", CertificateId=made[0]["CertificateId"])


def test_a_server_certificate_fits_its_key(iam: Any, account: str) -> None:
    body, key = certificate()
    upload = iam.upload_server_certificate
    about = {"ServerCertificateName": "web", "CertificateBody": body}
    refused(upload, "KeyPairMismatch", **about, PrivateKey=certificate()[1])
    refused(upload, "MalformedCertificate", **about, PrivateKey="no")
    refused(upload, "MalformedCertificate", ServerCertificateName="web", CertificateBody="no", PrivateKey=key)
    chain = certificate("issuer")[0]
    made = upload(**about, PrivateKey=key, CertificateChain=chain, Path="/cdn/", Tags=[{"Key": "a", "Value": "b"}])
    about_it = made["ServerCertificateMetadata"]
    assert about_it["Arn"] == f"arn:aws:iam::{account}:server-certificate/cdn/web"
    assert about_it["Expiration"] == datetime(2035, 1, 1, tzinfo=UTC)
    refused(upload, "EntityAlreadyExists", "The Server Certificate with name web already exists.", **about, PrivateKey=key)
    shown = iam.get_server_certificate(ServerCertificateName="WEB")["ServerCertificate"]
    assert (shown["CertificateBody"].strip(), shown["CertificateChain"].strip()) == (body.strip(), chain.strip())
    assert shown["Tags"] == [{"Key": "a", "Value": "b"}]
    iam.update_server_certificate(ServerCertificateName="web", NewServerCertificateName="www", NewPath="/")
    assert [one["ServerCertificateName"] for one in iam.list_server_certificates()["ServerCertificateMetadataList"]] == ["www"]
    iam.delete_server_certificate(ServerCertificateName="www")
    sentence = "The Server Certificate with name www cannot be found."
    refused(iam.get_server_certificate, "NoSuchEntity", sentence, ServerCertificateName="www")


def test_service_specific_credentials_are_told_once(iam: Any, account: str) -> None:
    iam.create_user(UserName="alice")
    create = iam.create_service_specific_credential
    made = create(UserName="alice", ServiceName="codecommit.amazonaws.com")["ServiceSpecificCredential"]
    assert made["ServiceUserName"] == f"alice-at-{account}"
    who = {"UserName": "alice", "ServiceSpecificCredentialId": made["ServiceSpecificCredentialId"]}
    again = iam.reset_service_specific_credential(**who)["ServiceSpecificCredential"]
    assert again["ServicePassword"] != made["ServicePassword"]
    iam.update_service_specific_credential(**who, Status="Inactive")
    listed = iam.list_service_specific_credentials(UserName="alice", ServiceName="codecommit.amazonaws.com")
    assert [one["Status"] for one in listed["ServiceSpecificCredentials"]] == ["Inactive"]
    assert "ServicePassword" not in listed["ServiceSpecificCredentials"][0]
    sentence = "No such service lambda.amazonaws.com is supported for Service Specific Credentials"
    refused(create, "NoSuchEntity", sentence, UserName="alice", ServiceName="lambda.amazonaws.com")
    iam.delete_service_specific_credential(**who)
    sentence = f"No such credential {made['ServiceSpecificCredentialId']} exists"
    refused(iam.delete_service_specific_credential, "NoSuchEntity", sentence, **who)


def test_what_force_destroy_asks_for_is_answered_with_lists(iam: Any) -> None:
    iam.create_user(UserName="alice")
    for operation, member in (
        ("list_access_keys", "AccessKeyMetadata"),
        ("list_mfa_devices", "MFADevices"),
        ("list_ssh_public_keys", "SSHPublicKeys"),
        ("list_service_specific_credentials", "ServiceSpecificCredentials"),
        ("list_signing_certificates", "Certificates"),
        ("list_user_policies", "PolicyNames"),
        ("list_attached_user_policies", "AttachedPolicies"),
        ("list_groups_for_user", "Groups"),
    ):
        answer = getattr(iam, operation)(UserName="alice")
        assert (answer[member], answer["IsTruncated"]) == ([], False), operation
