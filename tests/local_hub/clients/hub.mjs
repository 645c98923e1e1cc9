// The JavaScript client @huggingface/hub against the Hub at HF_ENDPOINT, through everything it is used for.
import assert from "node:assert/strict";
import { createRequire } from "node:module";

const require = createRequire(`${process.env.HUGGINGFACE_JS}/`);
const hub = require("@huggingface/hub");
const at = { hubUrl: process.env.HF_ENDPOINT, accessToken: process.env.HF_TOKEN };

const me = await hub.whoAmI(at);
assert.equal(me.type, "user");
const large = new Uint8Array(Number(process.env.LARGE_BYTES)).map((_, index) => index % 251);

for (const type of ["model", "dataset", "space"]) {
  const repo = { type, name: `${me.name}/from-js-${type}` };
  const made = await hub.createRepo({ ...at, repo, private: true, sdk: type === "space" ? "static" : undefined });
  assert.equal(new URL(made.repoUrl).origin, new URL(at.hubUrl).origin);
  assert.equal(await hub.repoExists({ ...at, repo }), true);
  assert.equal(await hub.repoExists({ hubUrl: at.hubUrl, repo }), false);
  await assert.rejects(hub.createRepo({ ...at, repo }), (error) => error.statusCode === 409);

  const files = [
    { path: "README.md", content: new Blob(["---\ntags: [js]\nsdk: static\n---\n# Made by JavaScript\n"]) },
    { path: "some folder/a.txt", content: new Blob(["hello"]) },
    { path: "w.bin", content: new Blob([large]) },
  ];
  const done = await hub.uploadFiles({ ...at, repo, files, commitTitle: "Three files" });
  assert.match(done.commit.oid, /^[0-9a-f]{40}$/);
  await hub.uploadFile({ ...at, repo, file: { path: "b.txt", content: new Blob(["second"]) } });

  const listed = [];
  for await (const file of hub.listFiles({ ...at, repo, recursive: true, expand: true })) listed.push(file);
  const paths = listed.filter((file) => file.type === "file").map((file) => file.path);
  for (const path of ["README.md", "b.txt", "some folder/a.txt", "w.bin"]) assert.ok(paths.includes(path), path);
  const lfs = listed.find((file) => file.path === "w.bin");
  assert.equal(lfs.lfs.size, large.length);
  assert.ok(lfs.lastCommit.id);

  const text = await hub.downloadFile({ ...at, repo, path: "some folder/a.txt" });
  assert.equal(await text.text(), "hello");
  const whole = await hub.downloadFile({ ...at, repo, path: "w.bin" });
  assert.deepEqual(new Uint8Array(await whole.arrayBuffer()), large);
  const piece = await (await hub.downloadFile({ ...at, repo, path: "w.bin" })).slice(1000, 1010).arrayBuffer();
  assert.deepEqual(new Uint8Array(piece), large.slice(1000, 1010));
  assert.equal(await hub.downloadFile({ ...at, repo, path: "none" }), null);
  assert.equal(await hub.fileExists({ ...at, repo, path: "b.txt" }), true);
  const info = await hub.fileDownloadInfo({ ...at, repo, path: "w.bin" });
  assert.equal(info.size, large.length);
  const known = await hub.pathsInfo({ ...at, repo, paths: ["w.bin", "none"], expand: true });
  assert.deepEqual(known.map((each) => each.path), ["w.bin"]);

  await hub.createBranch({ ...at, repo, branch: "dev" });
  const operations = [
    { operation: "addOrUpdate", path: "c.txt", content: new Blob(["third"]) },
    { operation: "delete", path: "b.txt" },
  ];
  const merged = await hub.commit({ ...at, repo, operations, title: "Add and delete", branch: "dev", parentCommit: (await head(repo, "dev")).oid });
  assert.equal((await head(repo, "dev")).oid, merged.commit.oid);
  await assert.rejects(
    hub.commit({ ...at, repo, operations: operations.slice(0, 1), title: "Stale", branch: "dev", parentCommit: done.commit.oid }),
    (error) => error.statusCode === 412,
  );
  const proposed = await hub.commit({ ...at, repo, operations: operations.slice(0, 1), title: "Please", isPullRequest: true });
  assert.match(proposed.pullRequestUrl, /\/discussions\/1$/);
  await hub.deleteFile({ ...at, repo, path: "w.bin" });
  assert.equal(await hub.fileExists({ ...at, repo, path: "w.bin" }), false);
  await hub.deleteBranch({ ...at, repo, branch: "dev" });
  assert.equal((await head(repo, "main")).title, "Delete w.bin");
}

const models = [];
for await (const model of hub.listModels({ ...at, search: { owner: me.name } })) models.push(model.name);
assert.deepEqual(models, [`${me.name}/from-js-model`]);
const found = await hub.modelInfo({ ...at, name: models[0], additionalFields: ["sha", "tags", "siblings"] });
assert.ok(found.tags.includes("js"));
for await (const dataset of hub.listDatasets({ ...at, search: { owner: me.name } })) assert.match(dataset.name, /from-js-dataset$/);
for await (const space of hub.listSpaces({ ...at, search: { owner: me.name } })) assert.equal(space.sdk, "static");
assert.equal(await hub.checkRepoAccess({ ...at, repo: models[0] }), undefined);
await assert.rejects(hub.checkRepoAccess({ hubUrl: at.hubUrl, repo: models[0] }), (error) => error.statusCode === 401);

const collection = await hub.createCollection({ ...at, collection: { title: "From JS", namespace: me.name, description: "d" } });
await hub.deleteCollection({ ...at, slug: collection.slug });

for (const type of ["model", "dataset", "space"]) {
  const repo = { type, name: `${me.name}/from-js-${type}` };
  await hub.deleteRepo({ ...at, repo });
  assert.equal(await hub.repoExists({ ...at, repo }), false);
}
console.log("all of it worked");

async function head(repo, revision) {
  for await (const commit of hub.listCommits({ ...at, repo, revision, batchSize: 1 })) return commit;
}
