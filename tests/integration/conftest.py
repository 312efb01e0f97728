"""What files share that keep three agents for all of their tests: each has a fixture `three_agents` of its own."""

import pytest_asyncio


@pytest_asyncio.fixture(loop_scope="module")
async def cluster(three_agents, request):
    """All three up and led by one of them, whatever the test before did."""
    failures = request.session.testsfailed
    for agent in three_agents.agents:
        if not agent.running:
            three_agents.start(agent)
    await three_agents.all_ready()
    await three_agents.leader()
    yield three_agents
    if request.session.testsfailed > failures:
        print(three_agents.logs(40))
