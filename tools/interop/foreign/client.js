// Walks Node's client (node-zookeeper-client) through its calls. One argument: host:port.
'use strict';
const zookeeper = require('node-zookeeper-client');
const assert = require('assert');

const server = process.argv[2];
const data = Buffer.from('data');
const call = (object, name, ...given) => new Promise((done, fail) => object[name](...given,
  (error, ...answer) => (error ? fail(error) : done(answer))));
const event = (subscribe) => new Promise((done, fail) => {
  const timer = setTimeout(() => fail(new Error('no event')), 20000);
  subscribe((came) => { clearTimeout(timer); done(came); });
});
const fails = (code, promise) => promise.then(() => assert.fail('no error'),
  (error) => assert.strictEqual(error.getCode && error.getCode(), code, String(error)));

async function connect(options) {
  const client = zookeeper.createClient(server, options);
  const connected = event((came) => client.once('connected', came));
  client.connect();
  await connected;
  return client;
}

async function restartServer() {
  const answer = event((came) => process.stdin.once('data', came));
  console.log('restart');
  await answer;
}

const Code = zookeeper.Exception;
const Mode = zookeeper.CreateMode;
const cases = {
  async nodes(client) {
    assert.deepStrictEqual(await call(client, 'create', '/js', data), ['/js']);
    await fails(Code.NODE_EXISTS, call(client, 'create', '/js', data));
    const [path] = await call(client, 'create', '/js/s-', data, Mode.PERSISTENT_SEQUENTIAL);
    assert.strictEqual(path, '/js/s-0000000000');
    await call(client, 'create', '/js/e', data, Mode.EPHEMERAL);
    await fails(Code.NO_CHILDREN_FOR_EPHEMERALS, call(client, 'create', '/js/e/x'));
    const [bytes, stat] = await call(client, 'getData', '/js');
    assert.strictEqual(bytes.toString(), 'data');
    assert.strictEqual(stat.numChildren, 2);
    await fails(Code.BAD_VERSION, call(client, 'setData', '/js', data, 5));
    const [changed] = await call(client, 'setData', '/js', data, 0);
    assert.strictEqual(changed.version, 1);
    const [children] = await call(client, 'getChildren', '/js');
    assert.deepStrictEqual(children.sort(), ['e', 's-0000000000']);
    await fails(Code.NOT_EMPTY, call(client, 'remove', '/js', -1));
    assert.deepStrictEqual(await call(client, 'exists', '/none'), [null]);
    await call(client, 'mkdirp', '/js/a/b');
    await call(client, 'removeRecursive', '/js/a', -1);
    await fails(Code.NO_NODE, call(client, 'getData', '/js/a'));
  },
  async watches(client) {
    const created = event((came) => client.exists('/jw', came, () => {}));
    await call(client, 'create', '/jw', data);
    assert.strictEqual((await created).name, 'NODE_CREATED');
    const changed = event((came) => client.getData('/jw', came, () => {}));
    await call(client, 'setData', '/jw', data);
    assert.strictEqual((await changed).name, 'NODE_DATA_CHANGED');
    const grown = event((came) => client.getChildren('/jw', came, () => {}));
    await call(client, 'create', '/jw/x', data);
    assert.strictEqual((await grown).name, 'NODE_CHILDREN_CHANGED');
    const gone = event((came) => client.getData('/jw/x', came, () => {}));
    await call(client, 'remove', '/jw/x');
    assert.strictEqual((await gone).name, 'NODE_DELETED');
  },
  async transaction(client) {
    await call(client.transaction().create('/jt').check('/jt', 0).setData('/jt', data).create('/jt/x'), 'commit');
    await fails(Code.NO_NODE, call(client.transaction().remove('/jt/x').remove('/jt/none'), 'commit'));
    assert.notStrictEqual((await call(client, 'exists', '/jt/x'))[0], null);
  },
  async access(client) {
    client.addAuthInfo('digest', Buffer.from('u:p'));
    await call(client, 'create', '/ja', data, zookeeper.ACL.CREATOR_ALL_ACL);
    const [list] = await call(client, 'getACL', '/ja');
    assert.strictEqual(list[0].id.id, 'u:Jq7wMyA/w2Vd5WIDAKdu4OIIFEQ=');
    const other = await connect();
    await fails(Code.NO_AUTH, call(other, 'getData', '/ja'));
    await call(client, 'setACL', '/ja', zookeeper.ACL.OPEN_ACL_UNSAFE, -1);
    await call(other, 'getData', '/ja');
    const closed = event((came) => other.once('disconnected', came));
    other.close();
    await closed;
  },
  async restart() {
    const client = await connect({ sessionTimeout: 10000 });
    await call(client, 'create', '/jr', data, Mode.EPHEMERAL);
    const id = client.getSessionId().toString('hex');
    const changed = event((came) => client.getData('/jr', came, () => {}));
    const back = event((came) => client.once('connected', came));
    await restartServer();
    await back;
    assert.strictEqual(client.getSessionId().toString('hex'), id);
    await call(client, 'setData', '/jr', data);
    assert.strictEqual((await changed).name, 'NODE_DATA_CHANGED');
    client.close();
  },
};

(async () => {
  const client = await connect();
  for (const [name, body] of Object.entries(cases)) {
    try {
      await body(client);
      console.log('ok ' + name);
    } catch (error) {
      console.log('FAIL ' + name + ': ' + String(error.stack).split('\n').slice(0, 3).join(' '));
    }
  }
  process.exit(0);
})();
