// Rounds of the AWS SDK for JavaScript: one function a service. Prints a JSON object on standard output: for each round "ok" or what went wrong.
//
//   ENDPOINT=http://127.0.0.1:4566 AWS_ACCESS_KEY_ID=… AWS_SECRET_ACCESS_KEY=… node rounds.mjs [ROUND…]
//
// Asserts what an application would rely on: fields, error classes by name, pages, waiters, streams. Nothing here knows of Cloudstead.

import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { Readable } from "node:stream";
import * as dynamodb from "@aws-sdk/client-dynamodb";
import * as events from "@aws-sdk/client-eventbridge";
import * as iam from "@aws-sdk/client-iam";
import * as logs from "@aws-sdk/client-cloudwatch-logs";
import * as s3 from "@aws-sdk/client-s3";
import * as sqs from "@aws-sdk/client-sqs";
import * as sts from "@aws-sdk/client-sts";
import { Upload } from "@aws-sdk/lib-storage";
import { createPresignedPost } from "@aws-sdk/s3-presigned-post";
import { getSignedUrl } from "@aws-sdk/s3-request-presigner";

const common = { endpoint: process.env.ENDPOINT, region: "us-east-1", maxAttempts: 1 };
const mark = randomBytes(4).toString("hex"); // names of this run
const TRUST = JSON.stringify({
  Version: "2012-10-17",
  Statement: [{ Effect: "Allow", Principal: { AWS: "000000000000" }, Action: "sts:AssumeRole" }],
});

async function all(pages, member) {
  const found = [];
  for await (const page of pages) found.push(...(page[member] ?? []));
  return found;
}

const rounds = {
  async sts() {
    const client = new sts.STSClient(common);
    const caller = await client.send(new sts.GetCallerIdentityCommand({}));
    assert.equal(caller.Account, "000000000000");
    const session = await client.send(new sts.GetSessionTokenCommand({ DurationSeconds: 900 }));
    const seconds = (session.Credentials.Expiration.getTime() - Date.now()) / 1000;
    assert.ok(seconds > 800 && seconds < 910, `expires in ${seconds} s`);
    await assert.rejects(client.send(new sts.GetSessionTokenCommand({ DurationSeconds: 1 })), (error) => {
      assert.equal(error.name, "ValidationError");
      assert.equal(error.$metadata.httpStatusCode, 400);
      assert.match(error.$metadata.requestId, /^[0-9a-f-]{36}$/);
      return true;
    });
  },

  async iam() {
    const client = new iam.IAMClient(common);
    const users = [1, 2, 3, 4, 5].map((n) => `js-${mark}-${n}`);
    for (const UserName of users) {
      const { User } = await client.send(new iam.CreateUserCommand({ UserName, Path: `/${mark}/`, Tags: [{ Key: "n", Value: UserName }] }));
      assert.equal(User.Arn, `arn:aws:iam::000000000000:user/${mark}/${UserName}`);
      assert.ok(User.CreateDate instanceof Date);
    }
    await iam.waitUntilUserExists({ client, maxWaitTime: 10 }, { UserName: users[0] });
    for (const pageSize of [1, 2, 5, 100]) {
      const found = await all(iam.paginateListUsers({ client, pageSize }, { PathPrefix: `/${mark}/` }), "Users");
      assert.deepEqual(found.map((user) => user.UserName), users, `pages of ${pageSize}`);
    }
    await assert.rejects(client.send(new iam.GetUserCommand({ UserName: "nobody" })), (error) => {
      assert.ok(error instanceof iam.NoSuchEntityException, error.constructor.name);
      assert.equal(error.name, "NoSuchEntityException");
      assert.equal(error.message, "The user with name nobody cannot be found.");
      assert.equal(error.$fault, "client");
      assert.equal(error.$metadata.httpStatusCode, 404);
      return true;
    });
    await assert.rejects(client.send(new iam.CreateUserCommand({ UserName: users[0] })), iam.EntityAlreadyExistsException);
    const key = (await client.send(new iam.CreateAccessKeyCommand({ UserName: users[0] }))).AccessKey;
    const role = (await client.send(new iam.CreateRoleCommand({ RoleName: `js-${mark}`, AssumeRolePolicyDocument: TRUST }))).Role;
    assert.deepEqual(JSON.parse(decodeURIComponent(role.AssumeRolePolicyDocument)), JSON.parse(TRUST));
    const PolicyDocument = JSON.stringify({ Version: "2012-10-17", Statement: [{ Effect: "Allow", Action: "sts:AssumeRole", Resource: role.Arn }] });
    await client.send(new iam.PutUserPolicyCommand({ UserName: users[0], PolicyName: "may", PolicyDocument }));
    const user = new sts.STSClient({ ...common, credentials: { accessKeyId: key.AccessKeyId, secretAccessKey: key.SecretAccessKey } });
    const { Credentials } = await user.send(new sts.AssumeRoleCommand({ RoleArn: role.Arn, RoleSessionName: "js" }));
    const assumed = new sts.STSClient({
      ...common,
      credentials: { accessKeyId: Credentials.AccessKeyId, secretAccessKey: Credentials.SecretAccessKey, sessionToken: Credentials.SessionToken },
    });
    const caller = await assumed.send(new sts.GetCallerIdentityCommand({}));
    assert.equal(caller.Arn, `arn:aws:sts::000000000000:assumed-role/js-${mark}/js`);
    await client.send(new iam.DeleteRoleCommand({ RoleName: role.RoleName }));
    await client.send(new iam.DeleteUserPolicyCommand({ UserName: users[0], PolicyName: "may" }));
    await assert.rejects(client.send(new iam.DeleteUserCommand({ UserName: users[0] })), iam.DeleteConflictException);
    await client.send(new iam.DeleteAccessKeyCommand({ UserName: users[0], AccessKeyId: key.AccessKeyId }));
    for (const UserName of users) await client.send(new iam.DeleteUserCommand({ UserName }));
  },

  async logs() {
    const client = new logs.CloudWatchLogsClient(common);
    const groups = [1, 2, 3].map((n) => `/js/${mark}/${n}`);
    for (const logGroupName of groups) await client.send(new logs.CreateLogGroupCommand({ logGroupName, tags: { n: "1" } }));
    const pages = logs.paginateDescribeLogGroups({ client, pageSize: 1 }, { logGroupNamePrefix: `/js/${mark}/` });
    assert.deepEqual((await all(pages, "logGroups")).map((group) => group.logGroupName), groups);
    await assert.rejects(client.send(new logs.CreateLogGroupCommand({ logGroupName: groups[0] })), logs.ResourceAlreadyExistsException);
    await assert.rejects(client.send(new logs.DeleteLogGroupCommand({ logGroupName: "/js/none" })), (error) => {
      assert.ok(error instanceof logs.ResourceNotFoundException);
      assert.equal(error.message, "The specified log group does not exist.");
      return true;
    });
    const where = { logGroupName: groups[0], logStreamName: "a" };
    await client.send(new logs.CreateLogStreamCommand(where));
    const now = Date.now();
    const logEvents = Array.from({ length: 250 }, (_, n) => ({ timestamp: now - 250 + n, message: `line ${n} ${n % 50 ? "info" : "ERROR"}` }));
    const put = await client.send(new logs.PutLogEventsCommand({ ...where, logEvents }));
    assert.equal(put.rejectedLogEventsInfo, undefined);
    const read = [];
    let token;
    for (;;) {
      const page = await client.send(new logs.GetLogEventsCommand({ ...where, startFromHead: true, limit: 100, nextToken: token }));
      if (page.nextForwardToken === token) break;
      token = page.nextForwardToken;
      read.push(...page.events);
    }
    assert.deepEqual(read.map((event) => event.message), logEvents.map((event) => event.message));
    const errors = await all(logs.paginateFilterLogEvents({ client, pageSize: 2 }, { logGroupName: groups[0], filterPattern: "ERROR" }), "events");
    assert.equal(errors.length, 5);
    for (const logGroupName of groups) await client.send(new logs.DeleteLogGroupCommand({ logGroupName }));
  },

  async liveTail() {
    const client = new logs.CloudWatchLogsClient({ ...common, disableHostPrefix: true }); // streaming-logs.<endpoint> is no name of this machine
    const logGroupName = `/js/live-${mark}`;
    await client.send(new logs.CreateLogGroupCommand({ logGroupName }));
    await client.send(new logs.CreateLogStreamCommand({ logGroupName, logStreamName: "a" }));
    const group = (await client.send(new logs.DescribeLogGroupsCommand({ logGroupNamePrefix: logGroupName }))).logGroups[0];
    const abort = new AbortController();
    const tail = await client.send(
      new logs.StartLiveTailCommand({ logGroupIdentifiers: [group.logGroupArn], logEventFilterPattern: "ERROR" }),
      { abortSignal: abort.signal },
    );
    const put = (message) =>
      client.send(new logs.PutLogEventsCommand({ logGroupName, logStreamName: "a", logEvents: [{ timestamp: Date.now(), message }] }));
    const seen = [];
    let started;
    for await (const event of tail.responseStream) {
      if (event.sessionStart) {
        started = event.sessionStart;
        await put("all is well");
        await put("ERROR one");
      } else if (event.sessionUpdate) {
        seen.push(...event.sessionUpdate.sessionResults);
        if (seen.length) break;
      }
    }
    abort.abort();
    assert.equal(started.logEventFilterPattern, "ERROR");
    assert.deepEqual(seen.map((event) => [event.message, event.logStreamName]), [["ERROR one", "a"]]);
    await client.send(new logs.DeleteLogGroupCommand({ logGroupName }));
  },

  async events() {
    const client = new events.EventBridgeClient(common);
    const Name = `js-events-${mark}`;
    const { RuleArn } = await client.send(new events.PutRuleCommand({ Name, EventPattern: JSON.stringify({ source: ["js"] }), State: "ENABLED" }));
    assert.equal(RuleArn, `arn:aws:events:us-east-1:000000000000:rule/${Name}`);
    const rule = await client.send(new events.DescribeRuleCommand({ Name }));
    assert.deepEqual(JSON.parse(rule.EventPattern), { source: ["js"] });
    const queue = new sqs.SQSClient(common);
    const { QueueUrl } = await queue.send(new sqs.CreateQueueCommand({ QueueName: Name }));
    const Arn = (await queue.send(new sqs.GetQueueAttributesCommand({ QueueUrl, AttributeNames: ["QueueArn"] }))).Attributes.QueueArn;
    const targets = await client.send(new events.PutTargetsCommand({ Rule: Name, Targets: [{ Id: "queue", Arn }] }));
    assert.equal(targets.FailedEntryCount, 0);
    const entry = { Source: "js", DetailType: "Test", Detail: JSON.stringify({ mark }), Time: new Date(), Resources: ["a"] };
    const put = await client.send(new events.PutEventsCommand({ Entries: [entry, { Source: "js", DetailType: "Test", Detail: "no JSON" }] }));
    assert.equal(put.FailedEntryCount, 1);
    assert.equal(put.Entries[1].ErrorCode, "MalformedDetail");
    let message;
    for (let round = 0; round < 20 && !message; round++) {
      const received = await queue.send(new sqs.ReceiveMessageCommand({ QueueUrl, WaitTimeSeconds: 1 }));
      message = received.Messages?.[0];
    }
    assert.ok(message, "the event did not come to the queue");
    const body = JSON.parse(message.Body);
    assert.deepEqual([body.source, body["detail-type"], body.detail, body.id], ["js", "Test", { mark }, put.Entries[0].EventId]);
    await assert.rejects(client.send(new events.DescribeRuleCommand({ Name: "none" })), events.ResourceNotFoundException);
    await client.send(new events.RemoveTargetsCommand({ Rule: Name, Ids: ["queue"] }));
    await client.send(new events.DeleteRuleCommand({ Name }));
    await queue.send(new sqs.DeleteQueueCommand({ QueueUrl }));
  },

  async s3() {
    const client = new s3.S3Client({ ...common, forcePathStyle: true });
    const Bucket = `js-${mark}`;
    await client.send(new s3.CreateBucketCommand({ Bucket }));
    await s3.waitUntilBucketExists({ client, maxWaitTime: 10 }, { Bucket });
    const put = await client.send(new s3.PutObjectCommand({ Bucket, Key: "a/ä b+c.txt", Body: "hello", ContentType: "text/plain", Metadata: { who: "js" } }));
    assert.equal(put.ETag, '"5d41402abc4b2a76b9719d911017c592"');
    const got = await client.send(new s3.GetObjectCommand({ Bucket, Key: "a/ä b+c.txt" }));
    assert.equal(await got.Body.transformToString(), "hello");
    assert.deepEqual([got.ContentType, got.ContentLength, got.Metadata], ["text/plain", 5, { who: "js" }]);
    await assert.rejects(client.send(new s3.GetObjectCommand({ Bucket, Key: "none" })), s3.NoSuchKey);
    await assert.rejects(client.send(new s3.HeadObjectCommand({ Bucket, Key: "none" })), s3.NotFound);
    await assert.rejects(client.send(new s3.ListObjectsV2Command({ Bucket: `none-${mark}` })), s3.NoSuchBucket);
    for (const n of [1, 2, 3, 4]) await client.send(new s3.PutObjectCommand({ Bucket, Key: `list/${n}`, Body: `${n}` }));
    const listed = await all(s3.paginateListObjectsV2({ client, pageSize: 3 }, { Bucket, Prefix: "list/" }), "Contents");
    assert.deepEqual(listed.map((object) => object.Key), ["list/1", "list/2", "list/3", "list/4"]);
    const gone = await client.send(new s3.DeleteObjectsCommand({ Bucket, Delete: { Objects: listed.map(({ Key }) => ({ Key })) } }));
    assert.equal(gone.Deleted.length, 4);
    await client.send(new s3.DeleteObjectCommand({ Bucket, Key: "a/ä b+c.txt" }));
    await client.send(new s3.DeleteBucketCommand({ Bucket }));
  },

  async s3Streams() {
    const client = new s3.S3Client({ ...common, forcePathStyle: true });
    const Bucket = `js-streams-${mark}`;
    await client.send(new s3.CreateBucketCommand({ Bucket }));
    const content = randomBytes(3 * 1024 * 1024 + 17);
    const pieces = function* () {
      for (let at = 0; at < content.length; at += 50_000) yield content.subarray(at, at + 50_000);
    };
    // A stream of known length goes as aws-chunked with its checksum in a trailer.
    for (const ChecksumAlgorithm of ["CRC32", "CRC32C", "SHA1", "SHA256", "CRC64NVME"]) {
      const Key = `stream-${ChecksumAlgorithm}`;
      const put = await client.send(
        new s3.PutObjectCommand({ Bucket, Key, Body: Readable.from(pieces()), ContentLength: content.length, ChecksumAlgorithm }),
      );
      assert.ok(put[`Checksum${ChecksumAlgorithm}`], `${ChecksumAlgorithm} is not answered`);
      const got = await client.send(new s3.GetObjectCommand({ Bucket, Key, ChecksumMode: "ENABLED" }));
      assert.ok(content.equals(Buffer.from(await got.Body.transformToByteArray())), `${ChecksumAlgorithm} came back changed`);
      assert.equal(got.ContentEncoding, undefined);
      if (ChecksumAlgorithm === "SHA256") assert.equal(got.ChecksumSHA256, createHash("sha256").update(content).digest("base64"));
    }
    await assert.rejects(
      client.send(new s3.PutObjectCommand({ Bucket, Key: "wrong", Body: "hello", ChecksumSHA256: createHash("sha256").update("x").digest("base64") })),
      (error) => assert.equal(error.name, "BadDigest") ?? true,
    );
    const big = randomBytes(12 * 1024 * 1024 + 5);
    const upload = new Upload({ client, params: { Bucket, Key: "parts", Body: Readable.from([big]) }, partSize: 5 * 1024 * 1024, queueSize: 3 });
    const done = await upload.done();
    assert.match(done.ETag, /-3"$/);
    const back = await client.send(new s3.GetObjectCommand({ Bucket, Key: "parts", Range: "bytes=5242870-5242889" }));
    assert.ok(big.subarray(5242870, 5242890).equals(Buffer.from(await back.Body.transformToByteArray())));
    assert.equal(back.ContentRange, `bytes 5242870-5242889/${big.length}`);
  },

  async s3Presigned() {
    const client = new s3.S3Client({ ...common, forcePathStyle: true });
    const Bucket = `js-presigned-${mark}`;
    await client.send(new s3.CreateBucketCommand({ Bucket }));
    const putUrl = await getSignedUrl(client, new s3.PutObjectCommand({ Bucket, Key: "p q.txt" }), { expiresIn: 60 });
    const put = await fetch(putUrl, { method: "PUT", body: "by url" });
    assert.equal(put.status, 200, await put.text());
    const getUrl = await getSignedUrl(client, new s3.GetObjectCommand({ Bucket, Key: "p q.txt", ResponseContentType: "text/x-q" }), { expiresIn: 60 });
    const got = await fetch(getUrl);
    assert.deepEqual([got.status, got.headers.get("content-type"), await got.text()], [200, "text/x-q", "by url"]);
    if (process.env.STRICT) {
      const tampered = await fetch(getUrl.replace("p%20q", "other"));
      assert.equal(tampered.status, 403);
      assert.match(await tampered.text(), /<Code>SignatureDoesNotMatch<\/Code>/);
      const unsigned = await fetch(getUrl.split("?")[0]);
      assert.equal(unsigned.status, 403);
    }
    const { url, fields } = await createPresignedPost(client, { Bucket, Key: "posted", Conditions: [["content-length-range", 0, 100]], Expires: 60 });
    const form = new FormData();
    for (const [name, value] of Object.entries(fields)) form.append(name, value);
    form.append("file", new Blob(["by form"]), "x.txt");
    const posted = await fetch(url, { method: "POST", body: form });
    assert.equal(posted.status, 204, await posted.text());
    const back = await client.send(new s3.GetObjectCommand({ Bucket, Key: "posted" }));
    assert.equal(await back.Body.transformToString(), "by form");
  },

  async sqs() {
    const client = new sqs.SQSClient(common);
    const { QueueUrl } = await client.send(new sqs.CreateQueueCommand({ QueueName: `js-${mark}`, Attributes: { VisibilityTimeout: "30" } }));
    const entries = [1, 2, 3].map((n) => ({ Id: `${n}`, MessageBody: `m${n}`, MessageAttributes: { n: { DataType: "Number", StringValue: `${n}` } } }));
    const sent = await client.send(new sqs.SendMessageBatchCommand({ QueueUrl, Entries: entries })); // the SDK checks the MD5 of every body
    assert.equal(sent.Successful.length, 3);
    const { Messages } = await client.send(new sqs.ReceiveMessageCommand({ QueueUrl, MaxNumberOfMessages: 10, MessageAttributeNames: ["All"] }));
    assert.deepEqual(Messages.map((message) => message.Body).sort(), ["m1", "m2", "m3"]);
    for (const { ReceiptHandle } of Messages) await client.send(new sqs.DeleteMessageCommand({ QueueUrl, ReceiptHandle }));
    await assert.rejects(client.send(new sqs.GetQueueUrlCommand({ QueueName: "none" })), sqs.QueueDoesNotExist);
    await client.send(new sqs.DeleteQueueCommand({ QueueUrl }));
  },

  async dynamodb() {
    const client = new dynamodb.DynamoDBClient(common);
    const TableName = `js-${mark}`;
    await client.send(
      new dynamodb.CreateTableCommand({
        TableName,
        BillingMode: "PAY_PER_REQUEST",
        AttributeDefinitions: [{ AttributeName: "k", AttributeType: "S" }],
        KeySchema: [{ AttributeName: "k", KeyType: "HASH" }],
      }),
    );
    await dynamodb.waitUntilTableExists({ client, maxWaitTime: 30 }, { TableName });
    for (const n of [1, 2, 3, 4, 5]) await client.send(new dynamodb.PutItemCommand({ TableName, Item: { k: { S: `${n}` }, n: { N: `${n}` }, b: { B: Buffer.from([n]) } } }));
    const { Item } = await client.send(new dynamodb.GetItemCommand({ TableName, Key: { k: { S: "3" } }, ConsistentRead: true }));
    assert.deepEqual([Item.n.N, Buffer.from(Item.b.B)], ["3", Buffer.from([3])]);
    const items = await all(dynamodb.paginateScan({ client, pageSize: 2 }, { TableName }), "Items");
    assert.deepEqual(items.map((item) => item.k.S).sort(), ["1", "2", "3", "4", "5"]);
    const again = new dynamodb.PutItemCommand({ TableName, Item: { k: { S: "1" } }, ConditionExpression: "attribute_not_exists(k)" });
    await assert.rejects(client.send(again), dynamodb.ConditionalCheckFailedException);
    await assert.rejects(client.send(new dynamodb.DescribeTableCommand({ TableName: "none" })), dynamodb.ResourceNotFoundException);
    await client.send(new dynamodb.DeleteTableCommand({ TableName }));
  },

  async wrongClock() {
    // Told that it is two hours fast, which is wrong: the Date of the answer, also of a refusal, puts the SDK right.
    const wrong = { ...common, systemClockOffset: 7_200_000 };
    for (const [client, command] of [
      [new sts.STSClient(wrong), new sts.GetCallerIdentityCommand({})],
      [new logs.CloudWatchLogsClient(wrong), new logs.DescribeLogGroupsCommand({})],
      [new s3.S3Client(wrong), new s3.ListBucketsCommand({})],
    ]) {
      const first = client.send(command);
      if (process.env.STRICT) await assert.rejects(first, { $fault: "client" });
      else await first;
      await client.send(command);
    }
  },

  async denied() {
    if (!process.env.STRICT) return;
    const credentials = { accessKeyId: process.env.AWS_ACCESS_KEY_ID, secretAccessKey: "wrong" };
    await assert.rejects(new iam.IAMClient({ ...common, credentials }).send(new iam.ListUsersCommand({})), { name: "SignatureDoesNotMatch" });
    await assert.rejects(new logs.CloudWatchLogsClient({ ...common, credentials }).send(new logs.DescribeLogGroupsCommand({})), {
      name: "InvalidSignatureException",
    });
    await assert.rejects(new s3.S3Client({ ...common, credentials }).send(new s3.ListBucketsCommand({})), { name: "SignatureDoesNotMatch" });
    const unknown = { accessKeyId: "AKIAIOSFODNN7EXAMPLE", secretAccessKey: "wrong" };
    await assert.rejects(new dynamodb.DynamoDBClient({ ...common, credentials: unknown }).send(new dynamodb.ListTablesCommand({})), {
      name: "UnrecognizedClientException",
    });
    await assert.rejects(new s3.S3Client({ ...common, credentials: unknown }).send(new s3.ListBucketsCommand({})), { name: "InvalidAccessKeyId" });
  },
};

const wanted = process.argv.length > 2 ? process.argv.slice(2) : Object.keys(rounds);
const results = await Promise.all(
  wanted.map((name) => rounds[name]().then(() => [name, "ok"], (error) => [name, `${error.stack}\n${JSON.stringify(error.$metadata ?? {})}`])),
);
console.log(JSON.stringify(Object.fromEntries(results)));
process.exit(0);
