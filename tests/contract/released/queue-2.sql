BEGIN TRANSACTION;
CREATE TABLE sealed_messages (
	position INTEGER NOT NULL, 
	queue VARCHAR(256) NOT NULL, 
	sealed BLOB NOT NULL, 
	properties TEXT NOT NULL, 
	deliveries INTEGER NOT NULL, 
	token VARCHAR(32), 
	claimed_until FLOAT NOT NULL, 
	died_in VARCHAR(256), 
	reason TEXT, 
	died_at FLOAT, 
	PRIMARY KEY (position)
);
INSERT INTO "sealed_messages" VALUES(2,'eye_dx_screenings',X'BE20F7605F66EFD005D52BEB96E42763F4726E334F9E6885DC20560A08976A1AA3823C','{"message_id":"m-1","correlation_id":null,"content_type":"application/json","type":null,"timestamp":null,"headers":{}}',0,NULL,0.0,NULL,NULL,NULL);
INSERT INTO "sealed_messages" VALUES(3,'eye_dx_screenings',X'571E99D1FAC172C1BDE3BF7CC671B0DEFDCEF2966910229C1FFBA570EDF9EC37A10E3F','{"message_id":"m-2","correlation_id":null,"content_type":"application/json","type":null,"timestamp":null,"headers":{}}',0,NULL,0.0,NULL,NULL,NULL);
INSERT INTO "sealed_messages" VALUES(4,'eye_dx_reviews',X'5B01DFC74F42D014D662963EB855E68960CCAEC8967817846FFAFB98CCDC2F6E4370CD520EEDB44BE270291081C8BEC9A30445E1FFDEE760D8AD881D','{"message_id":"r-0","correlation_id":null,"content_type":"application/json","type":null,"timestamp":null,"headers":{}}',1,'d3b57ba2bfac4668822cf3f3916e082e',1.79560446894398498532e+09,NULL,NULL,NULL);
INSERT INTO "sealed_messages" VALUES(5,'eye_dx_dead',X'0FE3EC6905D0B678030602A28E6083FEEE928FA848E522D77F45C41DBA3C19','{"message_id":"m-bad","correlation_id":null,"content_type":"application/json","type":null,"timestamp":null,"headers":{}}',0,NULL,0.0,'eye_dx_screenings','not JSON',1.79560440892611503605e+09);
INSERT INTO "sealed_messages" VALUES(6,'eye_dx_screenings',X'EC9A764911039C32B5C3246DE12DF55FE12B099E0E019FE74B747185DC2F39BD8461DF','{"message_id":"m-0","correlation_id":null,"content_type":"application/json","type":null,"timestamp":null,"headers":{}}',1,NULL,0.0,NULL,NULL,NULL);
CREATE INDEX ix_sealed_messages_claim ON sealed_messages (queue, position, claimed_until, token, deliveries);
COMMIT;
